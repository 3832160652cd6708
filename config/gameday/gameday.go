package gameday

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// GameDay is a drill on real servers, with faults.
type GameDay struct {
	Run    string        `yaml:"run" enum:"switchover|failover|failback|none" doc:"The recovery that is run; none looks at checks alone."`
	From   string        `yaml:"from" doc:"Region that is left; as of the command when left out."`
	To     string        `yaml:"to" doc:"Region that takes over; as of the command when left out."`
	Fence  []string      `yaml:"fence" doc:"Program and arguments that take power or network from a server of the region that is left; that of recovery.GROUP when left out."`
	Faults []Fault       `yaml:"faults" doc:"What is planted. All of it is taken away again."`
	Expect []Expectation `yaml:"expect" doc:"What has to be so; the drill fails when it is not."`
	Stop   []Expectation `yaml:"stop" doc:"What ends the drill at once: everything planted is taken away."`
	Red    *Expectation  `yaml:"red" doc:"The check that has to go off. The drill passes only when it was quiet before and goes off then."`
	Tell   []string      `yaml:"tell" doc:"Program and arguments that tell people: it is run when the drill begins and when it has ended, with DRCTL_DRILL, DRCTL_STATE (begins, passed, failed) and DRCTL_WORDS."`

	Limit      time.Duration `yaml:"limit" min:"1s" doc:"Longest time of the drill; then it is ended."`
	Production string        `yaml:"production" doc:"The platform's name: the drill may break servers that are not a lab's. Its plan has to be verified, and two people have to approve."`
	Owner      string        `yaml:"owner" doc:"Who owns what the drill finds."`
	Due        time.Duration `yaml:"due" min:"0s" doc:"How long after the drill a finding has to be closed; 0s leaves it to the review."`
}

// SetDefaults fills in what is left out.
func (g *GameDay) SetDefaults() { g.Run, g.Limit = None, 30*time.Minute }

// None runs no recovery.
const None = "none"

// What a fault does.
const (
	Kill  = "kill"
	Stop  = "stop"
	Mute  = "mute"
	Stall = "stall"
	Exec  = "exec"
)

// Fault is something that is broken, and taken away again.
type Fault struct {
	At   string        `yaml:"at" doc:"When: before the recovery, after it, or step:PATTERN when a step of the recovery whose id matches (* is anything) has begun; of a section, when it was done."`
	Do   string        `yaml:"do" req:"true" enum:"kill|stop|mute|stall|exec" doc:"kill: the server dies. stop: all its processes are frozen. mute: a standby hears nothing more. stall: a standby replays nothing more. exec: a program of yours."`
	On   string        `yaml:"on" req:"true" doc:"SHARD@REGION, or region:REGION for every server there; of exec where the program runs."`
	For  time.Duration `yaml:"for" min:"100ms" doc:"It is taken away after this time, by the next worker of its host when none runs; at the drill's end when left out."`
	Exec []string      `yaml:"exec" doc:"Of exec: absolute path of the program, and arguments."`
	Undo []string      `yaml:"undo" doc:"Of exec: what takes it away. It may run when nothing was planted, and more than once."`
}

// SetDefaults fills in what is left out.
func (f *Fault) SetDefaults() { f.At = Before }

// When a fault is planted, besides StepPrefix and a pattern.
const (
	Before     = "before"
	After      = "after"
	StepPrefix = "step:"
)

// Expectation is a question. Exactly one of what is asked is named.
type Expectation struct {
	Problem   string   `yaml:"problem" doc:"Code of a problem that drctl status shows."`
	On        string   `yaml:"on" doc:"Of problem: its subject. Of detection: the region."`
	Lint      string   `yaml:"lint" doc:"Words that the lint of the plan says."`
	Verify    string   `yaml:"verify" doc:"Region: a check of its vault finds something."`
	Prove     string   `yaml:"prove" doc:"Region: the newest cut of its vault is not proven by the logs."`
	Detection string   `yaml:"detection" enum:"up|suspected|lost" doc:"What a vantage point holds of a region."`
	Exec      []string `yaml:"exec" doc:"Program and arguments; its success says that it is so."`

	Verdict string        `yaml:"verdict" enum:"reached|taken-back|parted" doc:"How the recovery ended."`
	Step    string        `yaml:"step" doc:"Pattern of steps of the recovery; all of them have the status and say the words."`
	Status  string        `yaml:"status" doc:"Of step: done, failed or skipped; done when left out."`
	Says    string        `yaml:"says" doc:"Of step: words that stand in what it says or in its error."`
	Loss    string        `yaml:"loss" enum:"nothing|known" doc:"What the failover says of its loss."`
	Outage  time.Duration `yaml:"outage" min:"1ms" doc:"The recovery's own journal shows that no write was possible for no longer than this."`

	Not    bool          `yaml:"not" doc:"It must not be so."`
	After  bool          `yaml:"after" doc:"It is asked when everything planted was taken away."`
	Within time.Duration `yaml:"within" min:"0s" doc:"How long it is waited for; 1m when left out."`
}

// SetDefaults fills in what is left out.
func (c *Expectation) SetDefaults() { c.Within = time.Minute }

// Asked names what is asked; several when the check is wrong.
func (c Expectation) Asked() (out []string) {
	for _, x := range []struct {
		name string
		is   bool
	}{{"problem", c.Problem != ""}, {"lint", c.Lint != ""}, {"verify", c.Verify != ""}, {"prove", c.Prove != ""}, {"detection", c.Detection != ""},
		{"exec", len(c.Exec) > 0}, {"verdict", c.Verdict != ""}, {"step", c.Step != ""}, {"loss", c.Loss != ""}, {"outage", c.Outage > 0}} {
		if x.is {
			out = append(out, x.name)
		}
	}

	return out
}

// OfRun reports whether the check asks the journal of the recovery.
func (c Expectation) OfRun() bool {
	return c.Verdict != "" || c.Step != "" || c.Loss != "" || c.Outage > 0
}

// Problem is what is wrong with a key.
type Problem struct{ Key, Text, Hint string }

// Place is what a fault is planted on.
type Place struct{ Shard, Region string }

// Facts are what a game day is held against.
type Facts struct {
	Platform string
	Regions  []string
	// Servers are those of the group that a fault can name, and whether a worker knows the
	// directory of each.
	Servers map[Place]bool
}

// ParseOn reads what a fault is planted on; the shard is "" for a region.
func ParseOn(on string) (p Place, ok bool) {
	if r, is := strings.CutPrefix(on, "region:"); is {
		return Place{Region: r}, r != ""
	}
	shard, region, ok := strings.Cut(on, "@")

	return Place{shard, region}, ok && shard != "" && region != ""
}

// checker collects what is wrong.
type checker struct{ out []Problem }

func (c *checker) wrong(key, hint, format string, args ...any) {
	c.out = append(c.out, Problem{key, fmt.Sprintf(format, args...), hint})
}

// Check lists what is wrong with values that were read well.
func (g *GameDay) Check(f Facts) []Problem {
	c := &checker{}

	for key, r := range map[string]string{"from": g.From, "to": g.To} {
		if r != "" && !slices.Contains(f.Regions, r) {
			c.wrong(key, "", "there is no region %q", r)
		}
	}

	c.program("fence", g.Fence)
	c.program("tell", g.Tell)

	if g.Production != "" && g.Production != f.Platform {
		c.wrong("production", "write "+f.Platform, "the platform is called %q: the drill is for another one", f.Platform)
	}

	for i, x := range g.Faults {
		c.fault(fmt.Sprintf("faults.%d", i), x, g, f)
	}

	for i, x := range g.Expect {
		c.check(fmt.Sprintf("expect.%d", i), x, g, f)
	}

	for i, x := range g.Stop {
		key := fmt.Sprintf("stop.%d", i)

		c.check(key, x, g, f)

		if x.After {
			c.wrong(key+".after", "leave it out", "it is asked all the time")
		}

		if x.OfRun() {
			c.wrong(key, "expect it", "the journal of a recovery is read when it has ended: it can stop nothing")
		}
	}

	if g.Red != nil {
		c.check("red", *g.Red, g, f)

		if g.Red.Not || g.Red.After || g.Red.OfRun() {
			c.wrong("red", "name a problem, a lint, a verification, a proof, a detection or a program", "this is no check that could go off")
		}

		if !slices.ContainsFunc(g.Faults, func(f Fault) bool { return f.At == Before }) {
			c.wrong("red", "add faults with at: before", "nothing is planted before that the check could find: what the recovery does may set it off")
		}

		if g.Red.Problem != "" && g.Red.On == "" {
			c.wrong("red.on", "name the subject, as drctl status --json shows it", "such a problem of something else would do as well")
		}
	}

	if g.Run == None && len(g.Expect) == 0 && g.Red == nil {
		c.wrong("expect", "say what is expected", "the drill could not fail")
	}

	return c.out
}

func (c *checker) program(key string, argv []string) {
	if len(argv) > 0 && !strings.HasPrefix(argv[0], "/") {
		c.wrong(key, "["+"/usr/local/bin/program, argument]", "a program is named by its absolute path")
	}
}

func (c *checker) fault(key string, x Fault, g *GameDay, f Facts) {
	step, isStep := strings.CutPrefix(x.At, StepPrefix)

	switch {
	case isStep && step == "" || !isStep && x.At != Before && x.At != After:
		c.wrong(key+".at", "use before, after or step:PATTERN", "%q is no moment of a drill", x.At)
	case isStep && g.Run == None:
		c.wrong(key+".at", "", "no recovery is run, so it has no steps")
	}

	if x.Do == Exec {
		c.program(key+".exec", x.Exec)
		c.program(key+".undo", x.Undo)

		if len(x.Exec) == 0 || len(x.Undo) == 0 {
			c.wrong(key, "name both: whatever is planted is taken away again", "exec wants the keys exec and undo")
		}
	} else if len(x.Exec)+len(x.Undo) > 0 {
		c.wrong(key, "", "exec and undo belong to do: exec")
	}

	p, ok := ParseOn(x.On)
	if !ok {
		c.wrong(key+".on", "write it like orders/0@east or region:east", "%q is no server and no region", x.On)
		return
	}

	if !slices.Contains(f.Regions, p.Region) {
		c.wrong(key+".on", "", "there is no region %q", p.Region)
		return
	}

	c.reach(key+".on", x, p, f)
}

// reach checks that a worker can do to its servers what a fault wants.
func (c *checker) reach(key string, x Fault, p Place, f Facts) {
	known, is := f.Servers[p]

	switch {
	case p.Shard != "" && !is:
		c.wrong(key, "", "the group has no %s in %s", p.Shard, p.Region)
	case x.Do == Exec:
	case p.Shard != "" && !known:
		c.wrong(key, "give it a data_dir, or use do: exec", "no worker can do that to %s in %s: it does not know its data directory", p.Shard, p.Region)
	case p.Shard == "":
		for s, known := range f.Servers {
			if s.Region == p.Region && !known {
				c.wrong(key, "name the servers one by one, and use do: exec for this one", "no worker can do that to %s in %s: it does not know its data directory", s.Shard, s.Region)
			}
		}
	}
}

var code = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

func (c *checker) check(key string, x Expectation, g *GameDay, f Facts) {
	switch asked := x.Asked(); {
	case len(asked) == 0:
		c.wrong(key, "name one of problem, lint, verify, prove, detection, exec, verdict, step, loss, outage", "it asks nothing")
	case len(asked) > 1:
		c.wrong(key, "make several of it", "it asks several things: %s", strings.Join(asked, ", "))
	}

	c.program(key+".exec", x.Exec)

	if x.Problem != "" && !code.MatchString(x.Problem) {
		c.wrong(key+".problem", "as drctl status --json shows them", "%q is no code of a problem", x.Problem)
	}

	for name, r := range map[string]string{"verify": x.Verify, "prove": x.Prove} {
		if r != "" && !slices.Contains(f.Regions, r) {
			c.wrong(key+"."+name, "", "there is no region %q", r)
		}
	}

	if x.Detection != "" && !slices.Contains(f.Regions, x.On) {
		c.wrong(key+".on", "name the region", "there is no region %q", x.On)
	}

	if x.Step == "" && (x.Status != "" || x.Says != "") {
		c.wrong(key, "", "status and says belong to step")
	}

	if g.Run == None && (x.OfRun() || x.Lint != "") {
		c.wrong(key, "", "no recovery is run that could be asked")
	}
}
