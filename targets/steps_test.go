package targets

import (
	"strings"
	"testing"
	"time"
)

func TestSteps(t *testing.T) {
	asked := time.Now().Add(-time.Minute)
	var s CutSteps

	s.Did(StepLook, asked, asked.Add(10*time.Second))
	s.Did(StepSearch, asked, asked.Add(59*time.Second))
	s.Did(StepLook, asked, asked.Add(55*time.Second))
	s.Did(StepBegin, asked, asked.Add(-time.Second)) // another clock
	s.Again(StepLook, "a\nb"+strings.Repeat("ü", 1000))

	if len(s) != 3 || s[0].Name != StepLook || s[0].After != 10*time.Second || s[0].Took < 55*time.Second || s[0].Times != 2 || s[1].Times != 0 || s[2].After != 0 {
		t.Fatalf("%+v", s)
	}

	c := proven(time.Now())
	c.AskedAt, c.Steps = asked, s

	if err := c.Check(time.Now()); err != nil || !strings.HasPrefix(s[0].Why, "a bü") {
		t.Errorf("%v: %q", err, s[0].Why)
	}

	for name, spoil := range map[string]func(*Cut){
		"asked": func(c *Cut) { c.AskedAt = time.Now().Add(time.Hour) },
		"many":  func(c *Cut) { c.Steps = make(CutSteps, maxSteps+1) },
		"name":  func(c *Cut) { c.Steps[0].Name = "a\nb" },
		"why":   func(c *Cut) { c.Steps[0].Why = strings.Repeat("x", 2000) },
		"after": func(c *Cut) { c.Steps[0].After = -1 },
		"took":  func(c *Cut) { c.Steps[0].Took = -1 },
		"times": func(c *Cut) { c.Steps[0].Times = -1 },
	} {
		c := proven(time.Now())
		c.Steps = CutSteps{{Name: StepLook}}
		spoil(&c)

		if c.Check(time.Now()) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A cut that does not say when it was asked for can be kept all the same.
func TestStepsOfACutOfUnknownAsking(t *testing.T) {
	var s CutSteps
	s.Did(StepSeal, time.Time{}, time.Now())

	if err := (Cut{Steps: s}).checkSteps(time.Now()); err != nil || s[0].After != 0 {
		t.Errorf("%v: %+v", err, s)
	}
}
