package gameday

import (
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/internal/report/evidence"
)

// The phases of a game day, in order.
const (
	Detect  = "detect"
	Decide  = "decide"
	Silence = "silence"
	Promote = "promote"
	Reroute = "reroute"
	Verify  = "verify"
)

// phaseOf says to which phase a step of a recovery belongs, by the first word of its id; ""
// for those of none, such as what is made ready before.
func phaseOf(id string) string {
	word, _, _ := strings.Cut(id, "-")

	switch word {
	case "hold", "isolate", "fence":
		return Silence
	case "drain", "feed", "promote", "resolve":
		return Promote
	case "point", "release":
		return Reroute
	case "check":
		return Verify
	}

	return ""
}

// span is from the first begin to the last end of steps that were done.
func (r *Recovered) span(is func(id string) bool) (from, to time.Time, ok bool) {
	if r == nil {
		return from, to, false
	}

	for _, s := range r.all() {
		if !is(s.ID) || s.Status != "done" || s.Started.IsZero() || s.Finished.Before(s.Started) {
			continue
		}

		if from.IsZero() || s.Started.Before(from) {
			from = s.Started
		}

		if s.Finished.After(to) {
			to = s.Finished
		}
	}

	return from, to, !from.IsZero()
}

// outage is when no write was possible, by the recovery's own journal: from the first
// step that took writes away to the last that let them through, or promoted where no route
// is let go. ok is false when the recovery did not come that far.
func (r *Recovered) outage() (from, to time.Time, ok bool) {
	from, _, began := r.span(func(id string) bool { return phaseOf(id) == Silence })

	_, to, ended := r.span(func(id string) bool { return strings.HasPrefix(id, "release-") })
	if !ended {
		_, to, ended = r.span(func(id string) bool { return strings.HasPrefix(id, "promote-") })
	}

	return from, to, began && ended && to.After(from)
}

// outage is how long no write was possible: by the recovery's own journal, and from when a server of the region that is
// left was killed or frozen before it, where that was earlier.
func (s Seen) outage() (d time.Duration, ok bool) {
	if s.Recovered == nil {
		return 0, false
	}
	from, to, ok := s.Recovered.outage()

	for _, p := range s.Planted {
		if at := p.at(); (p.Fault.Do == Kill || p.Fault.Do == Stop) && p.Fault.Region == s.Recovered.From && !at.IsZero() && at.Before(from) {
			from = at
		}
	}

	return to.Sub(from), ok
}

// Ask answers a check of the recovery's journal, and what a fault has added to it.
func (s Seen) Ask(c Check) Answer {
	if c.Outage <= 0 || s.Recovered == nil {
		return s.Recovered.ask(c)
	}

	d, ok := s.outage()
	if !ok {
		return Answer{Error: "the journal does not tell when writes were possible again"}
	}

	return Answer{At: s.Recovered.Finished, So: d <= c.Outage, Words: human.Duration(d)}
}

// phases are measured from what was seen.
func (s Seen) phases() []evidence.Phase {
	unknown := func(name, why string) evidence.Phase {
		return evidence.Phase{Name: name, Took: evidence.Unknown[time.Duration](why)}
	}
	known := func(name string, from, to time.Time) evidence.Phase {
		return evidence.Phase{Name: name, Started: from, Finished: to, Took: evidence.Known(to.Sub(from))}
	}

	broken, alarm := s.firstPlanted(), s.alarm()

	out := []evidence.Phase{unknown(Detect, "the drill asks no detection, and no check that goes off")}
	switch {
	case broken.IsZero():
		out[0] = unknown(Detect, "nothing was planted")
	case alarm.Before(broken) && !alarm.IsZero():
		out[0] = unknown(Detect, "by the clocks it was detected before it was planted")
	case !alarm.IsZero():
		out[0] = known(Detect, broken, alarm)
	}

	if s.Recovered == nil {
		for _, name := range []string{Decide, Silence, Promote, Reroute} {
			out = append(out, unknown(name, "no recovery has ended"))
		}

		return append(out, s.verified(s.Ended))
	}

	since := alarm
	if since.IsZero() || since.After(s.Recovered.Started) {
		since = broken
	}

	decide := unknown(Decide, "nothing had happened about which somebody could decide")
	if !since.IsZero() && !since.After(s.Recovered.Started) {
		decide = known(Decide, since, s.Recovered.Started)
	}
	out = append(out, decide)

	for _, name := range []string{Silence, Promote, Reroute} {
		if from, to, ok := s.Recovered.span(func(id string) bool { return phaseOf(id) == name }); ok {
			out = append(out, known(name, from, to))
		} else {
			out = append(out, unknown(name, "no such step was done"))
		}
	}

	return append(out, s.verified(s.Recovered.Finished))
}

// verified is the phase in which what was expected is asked.
func (s Seen) verified(from time.Time) evidence.Phase {
	var to time.Time

	for _, a := range s.Answers {
		if a.Kind == Expected && a.at().After(to) {
			to = a.at()
		}
	}

	if from.IsZero() || to.Before(from) {
		return evidence.Phase{Name: Verify, Took: evidence.Unknown[time.Duration]("nothing was asked afterwards")}
	}

	return evidence.Phase{Name: Verify, Started: from, Finished: to, Took: evidence.Known(to.Sub(from))}
}

// firstPlanted is when the first fault was; zero when none was.
func (s Seen) firstPlanted() (at time.Time) {
	for _, p := range s.Planted {
		if p := p.at(); !p.IsZero() && (at.IsZero() || p.Before(at)) {
			at = p
		}
	}

	return at
}

// alarm is when the check went off that a red drill aims at, or detection spoke.
func (s Seen) alarm() (at time.Time) {
	for _, a := range s.Answers {
		if a.So && (a.Kind == RedWentOff || a.Kind == Expected && a.Check.Detection != "") && (at.IsZero() || a.at().Before(at)) {
			at = a.at()
		}
	}

	return at
}
