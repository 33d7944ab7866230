package chrome

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// flags are the arguments of the browser. None of them weakens the sandbox or
// the isolation of sites.
func flags(profile, proxy string, pins []string, headed bool) []string {
	args := []string{
		"--remote-debugging-pipe",
		"--user-data-dir=" + profile,
		"--no-first-run", "--no-default-browser-check",
		// Everything by the proxy, loopback included; nothing by UDP, and no name
		// is asked for: WebRTC does that past the proxy.
		"--proxy-server=http://" + proxy, "--proxy-bypass-list=<-loopback>",
		"--host-resolver-rules=MAP * ^NOTFOUND, EXCLUDE 127.0.0.1",
		"--disable-quic", "--force-webrtc-ip-handling-policy=disable_non_proxied_udp", "--webrtc-ip-handling-policy=disable_non_proxied_udp",
		// Nothing leaves that no page asked for.
		"--disable-background-networking", "--disable-component-update", "--disable-domain-reliability", "--disable-sync", "--disable-default-apps",
		"--disable-breakpad", "--disable-crash-reporter", "--no-pings", "--metrics-recording-only", "--disable-client-side-phishing-detection",
		"--no-service-autorun", "--disable-search-engine-choice-screen", "--disable-extensions", "--disable-component-extensions-with-background-pages",
		// Nothing is remembered or offered.
		"--password-store=basic", "--use-mock-keychain", "--disable-save-password-bubble", "--disable-notifications", "--deny-permission-prompts",
		"--disable-features=" + strings.Join([]string{
			"Translate", "OptimizationHints", "MediaRouter", "DialMediaRouteProvider", "InterestFeedContentSuggestions", "CertificateTransparencyComponentUpdater",
			"AutofillServerCommunication", "AutofillEnableAccountWalletStorage", "PasswordManagerOnboarding", "HttpsUpgrades", "Prerender2", "SpeculationRulesPrefetchProxy", "PreloadTopChromeWebUI", "NetworkTimeServiceQuerying", "BackForwardCache",
			// They open windows of their own, which ask for a document before one hears of them.
			"FedCm", "WebIdentityDigitalCredentials", "WebPayments",
		}, ","),
		// A window that is hidden or behind another works on.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding", "--disable-hang-monitor", "--disable-prompt-on-repost",
		// Role and name of an element, computed by the browser.
		"--enable-blink-features=ComputedAccessibilityInfo",
		"--window-size=1280,1000", "--lang=en-US", "--disk-cache-size=33554432",
	}
	if !headed {
		args = append(args, "--headless", "--hide-scrollbars", "--mute-audio", "--disable-gpu")
	}
	if len(pins) > 0 {
		args = append(args, "--ignore-certificate-errors-spki-list="+strings.Join(pins, ","))
	}
	return append(args, "--no-startup-window")
}

// preferences are those that no argument sets: nothing typed is kept, cookies
// are as in a window that is not private, where sign-ins across hosts need them,
// and no host hands out documents signed by another.
const preferences = `{"autofill":{"profile_enabled":false,"credit_card_enabled":false,"enabled":false},"credentials_enable_service":false,"credentials_enable_autosignin":false,` +
	`"profile":{"password_manager_enabled":false,"password_manager_leak_detection":false,"cookie_controls_mode":0},"safebrowsing":{"enabled":false},"search":{"suggest_enabled":false},"web_package":{"signed_exchange":{"enabled":false}},"net":{"network_prediction_options":2}}`

// pins are the digests of the public keys by which a stand-in is known.
// Certificates of anybody else are checked as ever.
func pins(o Options) ([]string, error) {
	if len(o.CAPEM) == 0 {
		return nil, nil
	}
	if !o.Site.IsValid() {
		return nil, fmt.Errorf("%w: certificates are taken for a stand-in alone, and there is none", ErrStart)
	}
	var out []string
	for rest := o.CAPEM; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: the stand-in's certificate: %w", ErrStart, err)
		}
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		out = append(out, base64.StdEncoding.EncodeToString(sum[:]))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the stand-in's certificate is not PEM", ErrStart)
	}
	return out, nil
}
