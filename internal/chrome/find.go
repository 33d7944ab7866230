package chrome

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Find returns the path of the browser that Launch starts.
func Find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	if runtime.GOOS == "darwin" {
		for _, app := range []string{"Google Chrome", "Chromium"} {
			path := "/Applications/" + app + ".app/Contents/MacOS/" + app
			if i, err := os.Stat(path); err == nil && i.Mode()&0o111 != 0 {
				return path, nil
			}
		}
		return "", fmt.Errorf("%w: install Google Chrome, or Chromium by `brew install --cask chromium`", ErrNoBrowser)
	}
	return "", fmt.Errorf("%w: install the package chromium (Debian, Fedora, Arch), chromium-browser (Ubuntu) or google-chrome-stable", ErrNoBrowser)
}

// display reports whether there is a display for a window.
func display() error {
	if runtime.GOOS == "linux" && os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return fmt.Errorf("%w: neither DISPLAY nor WAYLAND_DISPLAY is set", ErrNoDisplay)
	}
	return nil
}
