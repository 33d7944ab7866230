package chrome

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/runtime"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// maxElements bounds a View, and maxFrames the frames that are asked for one: each
// may answer with as many elements.
const (
	maxElements = 2000
	maxFrames   = 64
)

// seen is what the script tells of a frame.
type seen struct {
	URL      string `json:"url"`
	Origin   string `json:"origin"`
	State    string `json:"state"`
	Status   int    `json:"status"`
	Elements []struct {
		I int    `json:"i"`
		T string `json:"t"`
		Y string `json:"y"`
		R string `json:"r"`
		N string `json:"n"`
		L string `json:"l"`
		X string `json:"x"`
		C []int  `json:"c"`
		D bool   `json:"d"`
		V bool   `json:"v"`
		K bool   `json:"k"`
		E bool   `json:"e"`
		M int    `json:"m"`
		G string `json:"g"`
	} `json:"elements"`
	Frames []*struct {
		W float64 `json:"w"`
		H float64 `json:"h"`
		C bool    `json:"c"`
		U string  `json:"u"` // where its element leads it
	} `json:"frames"`
}

// Look implements recipe.Page. It asks all frames at once, those of hosts that
// are not listed too: what a bot check says of itself is worth knowing.
func (t *tab) Look(ctx context.Context, css []string) (recipe.View, error) {
	if css == nil {
		css = []string{}
	}
	for {
		if err := t.state(ctx); err != nil {
			return recipe.View{}, err
		}
		// What goes away is not worth a look; most often its successor is there
		// in a moment.
		for end := time.Now().Add(busyTime); t.busy() && time.Now().Before(end); {
			if err := wait(ctx); err != nil {
				return recipe.View{}, err
			}
		}
		if t.busy() {
			return recipe.View{URL: bare(t.top().url, true), Loading: true}, t.state(ctx)
		}
		v, err := t.look(ctx, css)
		if err == nil || !errors.Is(err, recipe.ErrStale) {
			return v, err
		}
		// A document went while it was looked at. The next one is on its way.
		if err := wait(ctx); err != nil {
			return recipe.View{}, err
		}
	}
}

func (t *tab) look(ctx context.Context, css []string) (recipe.View, error) {
	t.owners(ctx)
	t.mu.Lock()
	all := make(map[cdp.FrameID]frame, len(t.frames))
	for id, f := range t.frames {
		all[id] = *f
	}
	top := all[cdp.FrameID(t.id)]
	check := ""
	if t.checkOf == top.loader {
		check = t.check
	}
	t.mu.Unlock()
	if top.world == "" {
		return recipe.View{URL: bare(top.url, true), Loading: true}, nil
	}

	type answer struct {
		id  cdp.FrameID
		s   *seen
		err error
	}
	answers := make(chan answer, len(all))
	asked := 0
	for _, id := range order(all, top.id) {
		f := all[id]
		if f.world == "" {
			continue
		}
		args := []*runtime.CallArgument{value(map[string][]string{"css": css})}
		for _, c := range f.children {
			if o := all[c]; o.owner != "" && o.ownerWorld == f.world {
				args = append(args, &runtime.CallArgument{ObjectID: o.owner})
			} else {
				args = append(args, value(nil))
			}
		}
		asked++
		go func() {
			s, err := t.see(ctx, f, args)
			answers <- answer{id, s, err}
		}()
	}
	told := make(map[cdp.FrameID]*seen, asked)
	for range asked {
		a := <-answers
		switch {
		case a.err == nil:
			told[a.id] = a.s
			all[a.id] = t.of(all[a.id], a.s.Origin)
		case a.id == top.id || errors.Is(a.err, recipe.ErrGone) || ctx.Err() != nil:
			return recipe.View{}, a.err
		}
	}
	s := told[top.id]
	v := recipe.View{URL: bare(s.URL, true), Loading: s.State == "loading", Status: s.Status, Check: check}
	t.add(&v, all, told, top.id)
	return v, nil
}

// order returns the first frames of a tab, each after the one it is in.
func order(all map[cdp.FrameID]frame, top cdp.FrameID) []cdp.FrameID {
	out := []cdp.FrameID{top}
	for i := 0; i < len(out); i++ {
		out = append(out, all[out[i]].children...)
		out = out[:min(len(out), maxFrames)]
	}
	return out
}

// of notes the origin of a frame's document.
func (t *tab) of(f frame, origin string) frame {
	f.origin = origin
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.frames[f.id]; now != nil && now.world == f.world {
		now.origin = origin
	}
	return f
}

func (t *tab) see(ctx context.Context, f frame, args []*runtime.CallArgument) (*seen, error) {
	raw, err := t.run(ctx, f, "look", false, args...)
	if err != nil {
		return nil, err
	}
	var text string
	s := new(seen)
	if json.Unmarshal(raw, &text) != nil || json.Unmarshal([]byte(text), s) != nil {
		return nil, errors.New("the script's answer is malformed")
	}
	return s, nil
}

// add adds a frame to a view, and the frames in it that take up room.
func (t *tab) add(v *recipe.View, all map[cdp.FrameID]frame, told map[cdp.FrameID]*seen, id cdp.FrameID) {
	s, f := told[id], all[id]
	if s == nil {
		return
	}
	in := ""
	if f.parent != "" {
		if in = bare(address(all, f), false); in == "" {
			in = "about:invalid" // nobody's
		}
	}
	for _, e := range s.Elements {
		if len(v.Elements) == maxElements {
			break
		}
		v.Elements = append(v.Elements, recipe.Element{
			ID: recipe.ElementID(f.world + "#" + strconv.Itoa(e.I)), URL: in, Role: e.R, Name: e.N, Label: e.L, Text: e.X, Tag: e.T, Type: e.Y,
			CSS: e.C, Disabled: e.D, Covered: e.V, Checked: e.K, Empty: e.E, MaxLength: e.M, Group: e.G,
		})
	}
	for i, c := range f.children {
		if i >= len(s.Frames) || s.Frames[i] == nil {
			continue
		}
		child := all[c]
		switch on := s.Frames[i].U; {
		case strings.HasPrefix(child.url, "https:"):
			v.Frames = append(v.Frames, frameURL(child.url))
		case strings.HasPrefix(on, "https:"):
			// Its document is on its way, or was refused: what it is meant to
			// show counts, so that a bot check does not come too late.
			v.Frames = append(v.Frames, frameURL(on))
		}
		from := len(v.Elements)
		t.add(v, all, told, c)
		if s.Frames[i].C {
			for j := range v.Elements[from:] {
				v.Elements[from+j].Covered = true
			}
		}
	}
}

// owners finds the elements of new frames, in closed shadow roots too. Frames
// come and go while this runs; the next look finds them.
func (t *tab) owners(ctx context.Context) {
	type job struct{ f, parent frame }
	var jobs []job
	t.mu.Lock()
	for _, f := range t.frames {
		if p := t.frames[f.parent]; p != nil && p.world != "" && (f.owner == "" || f.ownerWorld != p.world) {
			jobs = append(jobs, job{*f, *p})
		}
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	for _, j := range jobs {
		o, err := cdp.Call(ctx, j.parent.s, dom.GetFrameOwner, dom.GetFrameOwnerParams{FrameID: j.f.id})
		if err != nil {
			continue
		}
		n, err := cdp.Call(ctx, j.parent.s, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: o.BackendNodeID, ExecutionContextID: j.parent.context})
		if err != nil || n.Object == nil {
			continue
		}
		t.mu.Lock()
		if f := t.frames[j.f.id]; f != nil {
			f.owner, f.ownerWorld = n.Object.ObjectID, j.parent.world
		}
		t.mu.Unlock()
	}
}

// address is the URL of a frame's document. One that has none of its own has
// that of the document around it, if that is of the same host: any page may
// lead its own frame to an empty document, and write what it likes there.
func address(all map[cdp.FrameID]frame, f frame) string {
	own, origin := f.url, f.origin
	for strings.HasPrefix(f.url, "about:") || f.url == "" {
		p, ok := all[f.parent]
		if !ok {
			break
		}
		f = p
	}
	if f.url != own && origin != "" && host(origin) != host(f.url) {
		return origin
	}
	return f.url
}

// bare cuts the fragment off a URL, and the query too unless it is to be kept.
func bare(raw string, query bool) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.Fragment, u.RawFragment, u.User = "", "", nil
	if !query {
		u.RawQuery, u.ForceQuery = "", false
	}
	return u.String()
}

// wait is the pause before a document that just went is asked for again.
func wait(ctx context.Context) error {
	select {
	case <-time.After(5 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
