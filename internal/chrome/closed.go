package chrome

import (
	"context"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/domsnapshot"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"

	"github.com/litentry/agentkeys/internal/provision/recipe"
)

// closed are the elements that have closed shadow roots, by frame: no script
// sees what those show, ours neither.
type closed struct {
	frames map[cdp.FrameID]frame
	asked  map[target.SessionID]bool
	hosts  map[cdp.FrameID][]*runtime.CallArgument
}

// in returns those of a frame. The browser tells them for all documents of a
// session at once.
func (c *closed) in(ctx context.Context, f frame) ([]*runtime.CallArgument, error) {
	if !c.asked[f.s.id] {
		if err := c.ask(ctx, f.s); err != nil {
			return nil, err
		}
		c.asked[f.s.id] = true
	}
	return c.hosts[f.id], nil
}

func (c *closed) ask(ctx context.Context, s session) error {
	all, err := cdp.Call(ctx, s, domsnapshot.CaptureSnapshot, domsnapshot.CaptureSnapshotParams{ComputedStyles: []string{}})
	if err != nil {
		return err
	}
	text := func(i domsnapshot.StringIndex) string {
		if i < 0 || int(i) >= len(all.Strings) {
			return ""
		}
		return all.Strings[i]
	}
	for _, d := range all.Documents {
		f, ok := c.frames[cdp.FrameID(text(d.FrameID))]
		if !ok || d.Nodes == nil || d.Nodes.ShadowRootType == nil {
			continue
		}
		within := map[int64]bool{} // a closed root
		for i, node := range d.Nodes.ShadowRootType.Index {
			if i < len(d.Nodes.ShadowRootType.Value) && text(d.Nodes.ShadowRootType.Value[i]) == "closed" {
				within[node] = true
			}
		}
		hosts := map[int64]bool{}
		for node := range within {
			if node < 0 || int(node) >= len(d.Nodes.ParentIndex) {
				return recipe.ErrStale
			}
			if parent := d.Nodes.ParentIndex[node]; !within[parent] {
				hosts[parent] = true
			}
		}
		for node := range hosts {
			if node < 0 || int(node) >= len(d.Nodes.BackendNodeID) {
				return recipe.ErrStale
			}
			n, err := cdp.Call(ctx, s, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: d.Nodes.BackendNodeID[node], ExecutionContextID: f.context})
			if err != nil || n.Object == nil {
				return recipe.ErrStale
			}
			c.hosts[f.id] = append(c.hosts[f.id], &runtime.CallArgument{ObjectID: n.Object.ObjectID})
		}
	}
	return nil
}
