package backlog

import (
	"fmt"
	"strconv"
	"time"
)

// backlogSpan is for how long a follower may be away, at the present rate,
// before it is told that it will need a full resync.
const backlogSpan = 60 * time.Second

// Warnings say what is wrong with the backlog of a server, by its INFO.
func Warnings(info map[string]string) []string { return append(rate(info), memory(info)...) }

// rate compares the backlog with the rate of writes.
func rate(m map[string]string) []string {
	size := num(m, "repl_backlog_size")
	if size <= 0 {
		return nil
	}

	kbps, _ := strconv.ParseFloat(m["instantaneous_input_kbps"], 64)
	if per := kbps * 1024; per > 0 {
		if span := time.Duration(float64(size) / per * float64(time.Second)); span < backlogSpan {
			return []string{fmt.Sprintf("repl-backlog-size of %d bytes lasts %s at %.0f kB/s: a follower that is away for longer needs a full resync; set it to %d or more",
				size, span.Round(time.Second), kbps, int64(per*backlogSpan.Seconds()*5))}
		}
	}

	if size <= 1<<20 {
		return []string{"repl-backlog-size is 1 MiB or less: a short interruption makes a full resync necessary; set it to the bytes written per second times the seconds to bridge (256mb where maxmemory is 1gb or more: it comes out of that)"}
	}

	return nil
}

// memoryShare is the part of maxmemory that the backlog may take before it
// is told: 1/memoryShare.
const memoryShare = 4

// memory compares the backlog with maxmemory. The server counts the
// backlog as used memory: with one that is large beside maxmemory it evicts
// keys to make room for it, all of them if need be, or refuses writes.
func memory(m map[string]string) []string {
	size, most := num(m, "repl_backlog_size"), num(m, "maxmemory")
	if most <= 0 || size <= most/memoryShare {
		return nil
	}

	then := "evicts keys for it (" + m["maxmemory_policy"] + ")"
	if m["maxmemory_policy"] == "noeviction" {
		then = "refuses writes for it"
	}

	return []string{fmt.Sprintf("repl-backlog-size of %d bytes comes out of maxmemory, of which it is %d%%: the server %s; raise maxmemory to %d or more, or set repl-backlog-size to %d or less",
		size, size*100/most, then, size*memoryShare, most/memoryShare)}
}

func num(m map[string]string, key string) int64 {
	n, _ := strconv.ParseInt(m[key], 10, 64)
	return n
}
