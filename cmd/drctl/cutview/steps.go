package cutview

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"drctl/cmd/drctl/answer"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/targets"
)

// means says what is done in a step.
var means = map[string]string{
	targets.StepBegin:    "the engine lets a worker begin",
	targets.StepServers:  "vaults and primaries are found",
	targets.StepLook:     "all servers are asked closely for their clocks and places",
	targets.StepLock:     "the tables are locked, the places named",
	targets.StepKeep:     "what they said gets into the vaults",
	targets.StepArchive:  "the logs up to there get into the vault",
	targets.StepRead:     "what is new of the logs is read from it",
	targets.StepSearch:   "an instant is looked for in them",
	targets.StepEvidence: "its evidence is stored",
	targets.StepObjects:  "the objects as of then are written down",
	targets.StepSeal:     "the vaults are asked whether they lead to every place",
}

// asked is when a cut was asked for, or its instant where that is not known.
func asked(c targets.Cut) time.Time {
	if c.AskedAt.IsZero() {
		return c.QuiescedAt
	}

	return c.AskedAt
}

// steps prints what a cut took, if that is known.
func steps(w io.Writer, c targets.Cut) error {
	if len(c.Steps) == 0 {
		return nil
	}

	fmt.Fprintf(w, "asked for at %s", c.AskedAt.Format(time.RFC3339Nano))

	if !c.SealedAt.IsZero() {
		fmt.Fprintf(w, ", sealed %s later", human.Duration(c.SealedAt.Sub(c.AskedAt)))
	}

	fmt.Fprintln(w, ":")

	var rows [][]string
	for _, s := range c.Steps {
		rows = append(rows, []string{s.Name, "+" + human.Duration(s.After), human.Duration(s.Took), fmt.Sprint(cmp.Or(s.Times, 1)), means[s.Name]})
	}

	if err := progress.Table(w, []string{"STEP", "AFTER", "TOOK", "TIMES", "WHAT"}, rows); err != nil {
		return err
	}

	for _, s := range c.Steps {
		if s.Why != "" {
			fmt.Fprintf(w, "%s once more, because: %s\n", s.Name, human.Clean(s.Why))
		}
	}

	return nil
}

// Stats prints what cuts cost and took.
func Stats(w io.Writer, f answer.CutStats) error {
	d := human.Duration

	fmt.Fprintf(w, "over %s, with at most %s: ", human.Plural(f.Cuts, "cut"), human.Plural(f.AttemptsMax, "attempt"))

	if f.StallMax == 0 {
		fmt.Fprintln(w, "nobody waited for any")
	} else {
		fmt.Fprintf(w, "writers waited p50 %s, p90 %s, p99 %s, longest %s\n", d(f.StallP50), d(f.StallP90), d(f.StallP99), d(f.StallMax))
	}

	if f.LockP50 > 0 {
		fmt.Fprintf(w, "at the barrier: gate wait p50 %s, lock wait p50 %s, hold p50 %s\n", d(f.GateP50), d(f.LockP50), d(f.HoldP50))
	}

	fmt.Fprintf(w, "sealed after the instant of the cut: p50 %s, p99 %s\n", d(f.SealP50), d(f.SealP99))

	if len(f.Steps) == 0 {
		return nil
	}

	rows := [][]string{{"whole", d(f.WholeP50), d(f.WholeP90), d(f.WholeMax), "from asking to sealed"}}
	for _, s := range f.Steps {
		rows = append(rows, []string{s.Step, d(s.P50), d(s.P90), d(s.Max), means[s.Step]})
	}

	return progress.Table(w, []string{"STEP", "P50", "P90", "LONGEST", "WHAT"}, rows)
}
