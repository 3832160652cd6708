package plan

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"drctl/targets"
)

// limits of what a definition may hold, so that one from elsewhere costs nothing.
const (
	maxSteps    = 20000
	maxAttempts = 100
	maxPeople   = 20
	maxText     = 4 << 10
)

// Check reports everything that is wrong with the form of a definition, whoever
// wrote it. What it means as a whole is for a lint to say.
func (d Definition) Check() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}

	need(d.Format == DefinitionFormat || d.Format == ActionsFormat, "format %d is not known", d.Format)
	need(targets.IsName(d.Group), "group %.80q is not a name", d.Group)
	need(slices.Contains(Modes, d.Mode), "mode %.80q is not known", d.Mode)
	need(d.From == "" || targets.IsName(d.From), "region %.80q is not a name", d.From)
	need(d.To == "" || targets.IsName(d.To), "region %.80q is not a name", d.To)
	need(d.Choice == "" || d.Choice == Newest || d.Choice == Proven, "choice %.80q is not known", d.Choice)
	need(len(d.Steps) <= maxSteps, "it has %d steps; %d are the most", len(d.Steps), maxSteps)

	seen := map[string]bool{}

	for _, s := range d.Steps[:min(len(d.Steps), maxSteps)] {
		need(!seen[s.ID], "two steps are called %.80q", s.ID)
		seen[s.ID] = true

		if err := s.Check(); err != nil {
			errs = append(errs, fmt.Errorf("step %.80q: %w", s.ID, err))
		}
	}

	return errors.Join(errs...)
}

// Check reports what is wrong with the form of one step.
func (s StepDef) Check() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}

	need(s.ID != "" && !strings.ContainsAny(s.ID, "* \n"), "its id is empty, or has a space or a star")
	errs = append(errs, targets.CheckText("id", s.ID), s.Into.Check(), s.checkArgs(), s.checkUndo())

	if s.On != (targets.ShardID{}) {
		errs = append(errs, s.On.Check(), s.Kind.Check())
	}

	need(s.Limit >= 0, "its limit is negative")
	need(s.Region == "" || targets.IsName(s.Region), "region %.80q is not a name", s.Region)
	need(s.Host == "" || targets.IsName(s.Host), "host %.80q is not a name", s.Host)
	need(s.Service == "" || targets.IsName(s.Service), "service %.80q is not a name", s.Service)
	need(s.Section == "" || targets.IsName(s.Section), "section %.80q is not a name", s.Section)
	need(s.Retry.Attempts >= 0 && s.Retry.Attempts <= maxAttempts && s.Retry.Backoff >= 0 && s.Retry.Longest >= 0, "its retries are no number from 0 to %d, or a pause is negative", maxAttempts)
	need(slices.Contains([]Consequence{Stop, Abort, AskPeople, GoOn}, s.IfFails), "if_fails %.80q is not known", s.IfFails)
	need(len(s.Reason) <= maxText, "its reason is too long")

	for m, b := range s.Modes {
		need(slices.Contains(Modes, m), "mode %.80q is not known", m)
		need(slices.Contains([]Behaviour{RunIt, "run", Skip, Rehearse, Ask}, b), "behaviour %.80q is not known", b)
	}

	for _, n := range s.Needs {
		need(n != "" && strings.Count(n, "*") <= 1 && (!strings.Contains(n, "*") || strings.HasSuffix(n, "*")), "need %.80q is neither an id nor the beginning of one with a star", n)
	}

	return errors.Join(errs...)
}

// argsOf are the operations and the field of Args that is theirs.
var argsOf = map[Op]string{OpPrecheck: "Precheck", OpApprove: "Approve", OpFence: "Fence", OpDrain: "Drain", OpFeed: "Feed", OpResolve: "Resolve",
	OpReroute: "Reroute", OpRejoin: "Rejoin", OpWarm: "Warm", OpManual: "Manual", OpExec: "Exec", OpHTTP: "HTTP", OpNotify: "Notify", OpInclude: "Include",
	OpClaim: "", OpPromote: "", OpFollow: "", OpRestore: "", OpVerify: "", OpReconcile: "", OpMerge: ""}

// wanted are the operations that mean nothing without their arguments.
var wanted = []Op{OpPrecheck, OpFence, OpFeed, OpReroute, OpManual, OpExec, OpHTTP, OpNotify, OpInclude}

func (s StepDef) checkArgs() error {
	own, known := argsOf[s.Do]
	if !known {
		return fmt.Errorf("action %.80q is not known", s.Do)
	}

	v := reflect.ValueOf(s.With)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !v.Field(i).IsNil() && name != own {
			return fmt.Errorf("it is a %s and has the arguments of another action (%s)", s.Do, strings.ToLower(name))
		}
	}

	if own != "" && slices.Contains(wanted, s.Do) && v.FieldByName(own).IsNil() {
		return fmt.Errorf("a %s needs arguments", s.Do)
	}

	return s.With.check()
}

func (a Args) check() error {
	switch {
	case a.Precheck != nil:
		return oneOf("check", a.Precheck.Check, CheckReady, CheckStandby, CheckVault, CheckRoutes, CheckMoment, CheckPlace, BindMoment, CheckVerify)
	case a.Approve != nil && (a.Approve.People < 0 || a.Approve.People > maxPeople):
		return fmt.Errorf("%d people cannot approve", a.Approve.People)
	case a.Fence != nil:
		if slices.Contains(a.Fence.By, ByHook) != (a.Fence.Hook != nil) {
			return errors.New("a fence by a hook names the hook, and no other does")
		}

		return errors.Join(each("proof", a.Fence.By, ByStop, ByGuard, ByHook, ByStatement), a.Fence.Hook.check())
	case a.Resolve != nil:
		return oneOf("rule", a.Resolve.Rule, ResolveByGroup, ResolveList)
	case a.Reroute != nil:
		if !targets.IsName(a.Reroute.Route) {
			return fmt.Errorf("route %.80q is not a name", a.Reroute.Route)
		}

		return oneOf("move", a.Reroute.Move, RouteHold, RouteIsolate, RouteSwitch, RouteRelease)
	case a.Rejoin != nil:
		return each("way", a.Rejoin.By, RejoinAsIs, RejoinRewind, RejoinRebuild)
	case a.Warm != nil:
		return errors.Join(a.Warm.Exec.check(), a.Warm.HTTP.check())
	case a.Manual != nil && (a.Manual.Text == "" || len(a.Manual.Text) > maxText):
		return errors.New("what people are to do is empty or too long")
	case a.Notify != nil && (a.Notify.Text == "" || len(a.Notify.Text) > maxText):
		return errors.New("what people are told is empty or too long")
	}

	return errors.Join(a.Exec.check(), a.HTTP.check())
}

func (e *Exec) check() error {
	if e == nil {
		return nil
	}

	if len(e.Command) == 0 || e.Command[0] == "" {
		return errors.New("a program has no name")
	}

	return nil
}

func (h *HTTP) check() error {
	if h == nil {
		return nil
	}

	if u, err := url.Parse(h.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("a call has no URL of a server") // the URL may hold a secret
	}

	return nil
}

func (s StepDef) checkUndo() error {
	if s.Undo == nil {
		return nil
	}

	if *s.Undo == (Undo{}) && slices.Contains([]Op{OpExec, OpHTTP, OpManual, OpNotify, OpWarm, OpVerify, OpPrecheck, OpApprove}, s.Do) {
		return fmt.Errorf("a %s has no way back of its own: say which", s.Do)
	}

	return errors.Join(s.Undo.Exec.check(), s.Undo.HTTP.check())
}

func oneOf(what, have string, known ...string) error {
	if !slices.Contains(known, have) {
		return fmt.Errorf("%s %.80q is none of %s", what, have, strings.Join(known, ", "))
	}

	return nil
}

// each wants at least one word, and known ones alone.
func each(what string, have []string, known ...string) error {
	if len(have) == 0 {
		return fmt.Errorf("no %s is named", what)
	}
	var errs []error

	for _, h := range have {
		errs = append(errs, oneOf(what, h, known...))
	}

	return errors.Join(errs...)
}
