package served

import (
	"fmt"
	"strings"
	"time"

	"drctl/internal/engine"
	"drctl/internal/human"
	"drctl/internal/platform"
)

// Queue is the task queue of a role, or of one host, and when it was last asked for work.
type Queue struct {
	platform.Place
	Role   platform.Role
	Queue  string
	For    []string // what needs it
	Polled time.Time
	// Machines are those whose workers serve it now, of a host's.
	Machines []string
}

// Lack is a queue that has no worker, or workers of more than one machine.
type Lack struct {
	Queue
	// Host says that it is one host's, and Twice that more than one machine serves it.
	Host, Twice bool
	// Subject and What are for people, Needed is what waits for it, in few words.
	Subject, What, Needed string
	// Next is what to do.
	Next string
}

// Lacks lists the queues that have no worker. Where a region has none at all (served says
// no of its queue), that says enough of its roles.
func Lacks(all []Queue, served func(queue string) bool) (out []Lack) {
	for _, q := range all {
		region, host, _ := platform.QueueOf(q.Queue)
		if len(q.Machines) > 1 {
			out = append(out, Lack{Queue: q, Host: true, Twice: true, Subject: q.Region + " " + host, What: fmt.Sprintf("host %s is served by workers of %s", host, strings.Join(q.Machines, " and of ")),
				Needed: needed(q.For), Next: "give each machine a name of its own: drctl worker --host"})
		}

		if engine.Served(q.Polled) || host == "" && !served(region) {
			continue
		}

		l := Lack{Queue: q, Host: host != "", Subject: q.Region + " " + string(q.Role), What: fmt.Sprintf("no worker of %s has the role %s", q.Region, q.Role),
			Needed: needed(q.For), Next: "start: " + platform.ServeWith(q.Region, host, q.Role)}

		if l.Host {
			l.Subject, l.What = q.Region+" "+host, fmt.Sprintf("no worker serves host %s", host)
			l.Next = fmt.Sprintf("start on %s: %s", host, platform.ServeWith(q.Region, host, q.Role))
		}

		if l.Host && q.Role != platform.Base {
			l.Subject, l.What = l.Subject+" "+string(q.Role), l.What+" in the role "+string(q.Role)
		}

		out = append(out, l)
	}

	return out
}

// needed says what waits for a queue, in few words.
func needed(by []string) string {
	switch len(by) {
	case 0:
		return ""
	case 1:
		return by[0]
	}

	return by[0] + " and " + human.Plural(len(by)-1, "other")
}

// HowTo says how a region gets a worker.
func HowTo(embedded bool, region string) string {
	if embedded {
		return "start: drctl up (if it runs, its log says why the worker of " + region + " does not)"
	}

	return "start: " + platform.ServeWith(region, "", platform.Base)
}
