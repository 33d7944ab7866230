package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/litentry/agentkeys"
	"github.com/litentry/agentkeys/internal/control"
	"github.com/litentry/agentkeys/internal/local"
	"github.com/litentry/agentkeys/internal/secret"
)

func (a *app) storeManagement(ctx context.Context, client *control.Client, svc agentkeys.Service, v secret.Value, force bool) error {
	m, err := client.StoreManagement(ctx, svc, v, force)
	if err != nil {
		return err
	}
	return a.print(m, func() {
		fmt.Fprintf(a.stdout, "%s: management key stored, and the service knows it\n", svc)
		fmt.Fprintln(a.stdout, "  from now on each grant gets a key of its own, deleted there when the grant ends")
		if len(m.Windows) > 0 {
			var per []string
			for _, w := range m.Windows {
				per = append(per, string(w))
			}
			fmt.Fprintf(a.stdout, "  the service itself keeps budgets in money per %s\n", strings.Join(per, ", "))
		} else {
			fmt.Fprintln(a.stdout, "  budgets are kept here: the service has none for a key")
		}
		if !m.Expiry {
			fmt.Fprintln(a.stdout, "  the service ends no key by itself: that is done from here, so keep 'agentkeys up' running")
		}
		fmt.Fprintf(a.stdout, "next: agentkeys grant AGENT %s, or agentkeys rotate %s for the grants there are\n", svc, svc)
	})
}

func (a *app) rotateKey(ctx context.Context, name string) error {
	svc, err := agentkeys.ParseService(name)
	if err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	res, err := client.RotateKey(ctx, svc)
	if err != nil {
		return err
	}
	return a.print(res, func() {
		if len(res.Keys) == 0 {
			fmt.Fprintf(a.stdout, "%s: no grant is in force, nothing is replaced\n", svc)
		}
		for _, k := range res.Keys {
			who := "your own key"
			if !k.Agent.IsZero() {
				who = "agent " + k.Agent.String()
			}
			fmt.Fprintf(a.stdout, "%s: %s has a new key (%s)\n", svc, who, printable(k.ID))
			if k.Old != "" {
				fmt.Fprintf(a.stdout, "  the old one is deleted at the service in %s\n", span(time.Until(k.Until)))
			} else {
				fmt.Fprintln(a.stdout, "  the old one was not made here: delete it on the service's page")
			}
		}
	})
}

// ownKey says what the service keeps of a grant by itself.
func ownKey(k *local.MintedKey) string {
	text := "a key of its own"
	if k.Limit > 0 {
		text += fmt.Sprintf(", limit %s/%s upstream", k.Limit, k.Per)
	}
	return text
}

func (a *app) examineMinted(ctx context.Context, p local.Paths, add addFinding) {
	keys, err := control.NewClient(p.Control()).Minted(ctx)
	if err != nil || len(keys) == 0 {
		return // that the process does not run is said elsewhere
	}
	live := 0
	for _, k := range keys {
		switch {
		case k.State == local.MintedLive:
			live++
		case k.State == local.MintedUnknown:
			add("minted", "bad", "delete the key of that name on the service's page, then the file",
				"key %s may be alive at its service: %s", printable(k.Name), printable(k.Error))
		case k.Error == "":
			add("minted", "note", "", "key %s is to be deleted at %s", printable(k.Name), k.Service)
		default:
			add("minted", "bad", "see to what it says, or delete the key on the service's page; agentkeys goes on trying",
				"key %s may be alive at %s: %s", printable(k.Name), k.Service, printable(k.Error))
		}
	}
	if live > 0 {
		add("minted", "ok", "", "alive at their services: %s made for grants", count(live, "key"))
	}
}
