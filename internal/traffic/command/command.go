package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/traffic"
	"drctl/targets"
)

// The hooks.
const (
	Read    = "read"
	Hold    = "hold"
	Isolate = "isolate"
	Point   = "point"
	Release = "release"
	Undo    = "undo"
)

// Hooks are the names of all hooks.
var Hooks = []string{Read, Hold, Isolate, Point, Release, Undo}

const (
	// maxOutput bounds what is read of a hook's output, in bytes.
	maxOutput = 64 << 10
	// limit bounds a hook whose configuration does not.
	limit = 30 * time.Second
)

var _ traffic.Driver = (*Driver)(nil)

// Spec is what both kinds of hooks have.
type Spec struct {
	Route traffic.Route
	// Limit is the longest time of one hook; 0 is 30 s.
	Limit time.Duration
	// Lag is how long clients may go on to use the old place (caches).
	Lag time.Duration
}

// call is one use of a hook.
type call struct {
	hook   string
	region string
	was    string // region that was read before
	state  []byte // what was read, in JSON, for undo
}

// runner runs hooks.
type runner interface {
	has(hook string) bool
	// run returns what the hook printed.
	run(ctx context.Context, c call) (string, error)
	secrets() []targets.Secret
	close()
}

// Driver moves one route by hooks.
type Driver struct {
	spec Spec
	run  runner
}

func newDriver(s Spec, r runner) (*Driver, error) {
	for _, hook := range []string{Read, Point} {
		if !r.has(hook) {
			return nil, fail.New(fail.Invalid, "traffic: "+string(s.Route.Kind), s.Route.String(), "what is changed is read back", fmt.Errorf("it has no hook %q", hook))
		}
	}

	if r.has(Release) != (r.has(Hold) || r.has(Isolate)) {
		return nil, fail.New(fail.Invalid, "traffic: "+string(s.Route.Kind), s.Route.String(), "", errors.New("hold or isolate, and release, are given together or not at all"))
	}

	for _, region := range append(slices.Clone(s.Route.Regions), s.Route.Name) {
		if strings.ContainsFunc(region, func(r rune) bool { return r <= ' ' || r > '~' }) || region == none {
			return nil, fail.Newf(fail.Invalid, "traffic: "+string(s.Route.Kind), s.Route.String(), "%q is not a plain word", region)
		}
	}

	if s.Limit <= 0 {
		s.Limit = limit
	}

	return &Driver{s, r}, nil
}

// Can follows from the hooks that there are.
func (d *Driver) Can() traffic.Abilities {
	return traffic.Abilities{Hold: d.run.has(Hold), Isolate: d.run.has(Isolate), Point: true, Lag: d.spec.Lag}
}

// Close gives up idle connections.
func (d *Driver) Close() { d.run.close() }

// hook runs a hook and says what it printed, without secrets.
func (d *Driver) hook(ctx context.Context, c call) (string, error) {
	op := "traffic: " + c.hook
	if !d.run.has(c.hook) {
		return "", traffic.CannotDo(op, d.spec.Route, "give it a hook "+c.hook)
	}

	within, cancel := context.WithTimeout(ctx, d.spec.Limit)
	defer cancel()

	out, err := d.run.run(within, c)
	out = d.blot(out)

	if err == nil {
		return out, nil
	}

	if e := fail.FromContext(op, d.spec.Route.String(), ctx.Err()); e != nil {
		return out, e
	}

	if within.Err() != nil {
		return out, fail.New(fail.Stalled, op, d.spec.Route.String(), "give it more time, or mend it", fmt.Errorf("the hook did not end within %s", human.Duration(d.spec.Limit)))
	}

	text := d.blot(err.Error())
	if said := words(out); said != "" {
		text += ": " + said
	}

	return out, fail.New(fail.Unavailable, op, d.spec.Route.String(), "run the hook by hand to see what it says", errors.New(text))
}

// blot replaces secrets in a text.
func (d *Driver) blot(text string) string {
	for _, s := range d.run.secrets() {
		if !s.IsZero() {
			text = strings.ReplaceAll(text, s.Reveal(), s.String())
		}
	}

	return text
}

// words are the beginning of an output, for an error.
func words(out string) string {
	const most = 300

	text := human.Clean(strings.Join(strings.Fields(out), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}

	return text
}

const none = "none"

// Read runs the hook of that name and believes its one line.
func (d *Driver) Read(ctx context.Context) (traffic.State, error) {
	out, err := d.hook(ctx, call{hook: Read})
	if err != nil {
		return traffic.State{}, err
	}

	said := strings.Fields(out)
	held := len(said) == 2 && said[1] == "held"

	if len(said) != 1 && !held || said[0] != none && !slices.Contains(d.spec.Route.Regions, said[0]) {
		return traffic.State{}, fail.New(fail.Unverified, "traffic: read", d.spec.Route.String(),
			`the hook prints a region of the route or "none", and "held" after it when new work waits`, fmt.Errorf("it printed %q", words(out)))
	}

	part := traffic.Part{Name: d.spec.Route.Name, Address: said[0], Region: said[0], Held: held}
	if said[0] == none {
		part.Address, part.Region, part.Isolated = "", "", true
	}

	return traffic.NewState(d.spec.Route.Name, []traffic.Part{part}), nil
}

// Hold runs the hook, and release when the route is not held afterwards.
func (d *Driver) Hold(ctx context.Context) error {
	const op = "traffic: hold"
	if !d.run.has(Hold) {
		return traffic.CannotDo(op, d.spec.Route, "give it a hook hold")
	}

	was, err := d.Read(ctx)
	if err != nil || was.Held {
		return err
	}

	_, err = d.hook(ctx, call{hook: Hold, was: was.Region})
	if err == nil {
		err = d.expect(ctx, op, func(s traffic.State) bool { return s.Held }, "held")
	}

	if err == nil {
		return nil
	}

	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), traffic.UndoLimit)
	defer cancel()

	if _, uerr := d.hook(back, call{hook: Release, region: was.Region, was: was.Region}); uerr != nil {
		return fail.New(fail.CodeOf(err), op, d.spec.Route.String(), "release it by hand: clients may wait there", fmt.Errorf("%w; and it could not be released: %w", err, uerr))
	}

	return err
}

// Isolate runs the hook.
func (d *Driver) Isolate(ctx context.Context) error {
	const op = "traffic: isolate"
	if !d.run.has(Isolate) {
		return traffic.CannotDo(op, d.spec.Route, "give it a hook isolate")
	}

	if _, err := d.hook(ctx, call{hook: Isolate}); err != nil {
		return err
	}

	return d.expect(ctx, op, func(s traffic.State) bool { return s.Isolated }, "isolated")
}

// Point runs the hook, unless the route points there.
func (d *Driver) Point(ctx context.Context, region string) error {
	const op = "traffic: point"
	if !slices.Contains(d.spec.Route.Regions, region) {
		return traffic.UnknownRegion(op, d.spec.Route, region)
	}

	was, err := d.Read(ctx)
	if err != nil || was.Region == region {
		return err
	}

	if _, err := d.hook(ctx, call{hook: Point, region: region, was: was.Region}); err != nil {
		return err
	}

	return d.expect(ctx, op, func(s traffic.State) bool { return s.Region == region }, "pointed to "+region)
}

// Release runs the hook where the route points to the region.
func (d *Driver) Release(ctx context.Context, region string, was traffic.State) error {
	const op = "traffic: release"
	if !d.run.has(Release) {
		return traffic.CannotDo(op, d.spec.Route, "give it a hook release")
	}

	now, err := d.Read(ctx)
	if err != nil {
		return err
	}

	if now.Region != region || region == "" {
		return traffic.Elsewhere(op, d.spec.Route, now.Parts[0], region)
	}

	if !now.Held {
		return nil
	}

	if _, err := d.hook(ctx, call{hook: Release, region: region, was: was.Region}); err != nil {
		return err
	}

	return d.expect(ctx, op, func(s traffic.State) bool { return !s.Held && s.Region == region }, "released")
}

// Undo runs the hook with what was read, in JSON, on its standard input or as its body.
// Without one, point, hold and release bring back what was read.
func (d *Driver) Undo(ctx context.Context, was traffic.State) error {
	const op = "traffic: undo"
	if _, ok := was.Part(d.spec.Route.Name); !ok {
		return traffic.OtherState(op, d.spec.Route, d.spec.Route.Name)
	}

	like := func(s traffic.State) bool {
		return s.Region == was.Region && s.Held == was.Held && s.Isolated == was.Isolated
	}

	now, err := d.Read(ctx)
	if err != nil || like(now) {
		return err
	}

	if !d.run.has(Undo) {
		return d.back(ctx, now, was)
	}

	state, err := json.Marshal(was)
	if err != nil {
		return fail.New(fail.Internal, op, d.spec.Route.String(), "", err)
	}

	if _, err := d.hook(ctx, call{hook: Undo, region: was.Region, was: was.Region, state: state}); err != nil {
		return err
	}

	return d.expect(ctx, op, like, "as it was")
}

// back undoes without a hook for that.
func (d *Driver) back(ctx context.Context, now, was traffic.State) error {
	if was.Isolated {
		return d.Isolate(ctx)
	}

	if now.Region != was.Region {
		if err := d.Point(ctx, was.Region); err != nil {
			return err
		}
	}

	if was.Held {
		return d.Hold(ctx)
	}

	if !d.run.has(Release) {
		return nil
	}

	return d.Release(ctx, was.Region, was)
}

// expect reads back what a hook has changed.
func (d *Driver) expect(ctx context.Context, op string, ok func(traffic.State) bool, what string) error {
	now, err := d.Read(ctx)
	if err == nil && !ok(now) {
		where := now.Region
		if where == "" {
			where = none
		}

		return fail.New(fail.Unverified, op, d.spec.Route.String(), "run the hooks by hand", fmt.Errorf("after its hook the route is not %s: it points to %s, held: %t", what, where, now.Held))
	}

	return err
}
