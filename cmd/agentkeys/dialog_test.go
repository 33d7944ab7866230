package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// dialog runs a program on a terminal of its own and plays a person:
//
//	dialog [-piped] FILE PROGRAM [ARG…]
//
// FILE has a line for each thing that is done:
//
//	expect TEXT      wait until TEXT is on the screen, after what was met before
//	type TEXT        type a line
//	paste FILE       type what is in a file, as a line
//	press ctrl-c     or ctrl-d, or ctrl-backslash
//	echo on|off      wait until the terminal shows what is typed, or does not
//	hidden FILE      what is in the file has not been on the screen
//	exit CODE        wait for the end
//
// It prints the screen, and fails if the dialogue does not go like this. With
// -piped the program's standard output is no terminal.
func dialog(args []string) int {
	piped := len(args) > 0 && args[0] == "-piped"
	if piped {
		args = args[1:]
	}
	if len(args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: dialog [-piped] FILE PROGRAM [ARG…]")
		return 2
	}
	lines, err := os.ReadFile(args[0])
	if err == nil {
		err = play(strings.Split(strings.TrimSpace(string(lines)), "\n"), piped, args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dialog:", err)
		return 1
	}
	return 0
}

// screen is what a terminal was told to show.
type screen struct {
	mu   sync.Mutex
	text string
	met  int // expect goes on from here
}

func (s *screen) read(f *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		s.mu.Lock()
		s.text += strings.ReplaceAll(string(buf[:n]), "\r", "")
		s.mu.Unlock()
		if err != nil {
			return // EIO: the last process has let go of the terminal
		}
	}
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

func (s *screen) meet(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := strings.Index(s.text[s.met:], text)
	if i < 0 {
		return false
	}
	s.met += i + len(text)
	return true
}

func play(lines []string, piped bool, args []string) error {
	master, slave, err := openTerminal()
	if err != nil {
		return err
	}
	defer master.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if piped {
		cmd.Stdout = nil
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	// The slave stays open here: its settings are looked at after the end.
	defer slave.Close()
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var scr screen
	go scr.read(master)
	defer func() { fmt.Print(scr.all()) }()

	ended := false
	for i, line := range lines {
		verb, rest, _ := strings.Cut(line, " ")
		fail := func(format string, args ...any) error {
			if !ended {
				_ = cmd.Process.Kill()
			}
			return fmt.Errorf("line %d: %s: %s", i+1, line, fmt.Sprintf(format, args...))
		}
		text := rest
		if verb == "paste" || verb == "hidden" {
			data, err := os.ReadFile(rest)
			if err != nil {
				return fail("%v", err)
			}
			text = strings.TrimSpace(string(data))
		}
		switch verb {
		case "expect":
			if !soon(func() bool { return scr.meet(text) }) {
				return fail("it did not come")
			}
		case "type", "paste":
			if _, err := master.WriteString(text + "\n"); err != nil {
				return fail("%v", err)
			}
		case "press":
			key := map[string]string{"ctrl-c": "\x03", "ctrl-d": "\x04", "ctrl-backslash": "\x1c"}[text]
			if _, err := master.WriteString(key); err != nil || key == "" {
				return fail("%v", err)
			}
		case "echo":
			if !soon(func() bool { return echoes(slave) == (text == "on") }) {
				return fail("it is not")
			}
		case "hidden":
			if strings.Contains(scr.all(), text) {
				return fail("it was shown")
			}
		case "exit":
			select {
			case <-done:
				ended = true
			case <-time.After(patience):
				return fail("it goes on")
			}
			if got := cmd.ProcessState.ExitCode(); strconv.Itoa(got) != text {
				return fail("it was %d", got)
			}
			// What was written last has to come through.
			time.Sleep(20 * time.Millisecond)
		default:
			return fail("no such verb")
		}
	}
	if !ended {
		_ = cmd.Process.Kill()
		return fmt.Errorf("the dialogue does not say how it ends")
	}
	return nil
}

// patience is how long something may take on a busy machine with the race
// detector before it counts as not happening.
const patience = 60 * time.Second

func soon(f func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return true
		}
	}
	return f()
}
