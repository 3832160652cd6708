package served

import (
	"strings"
	"testing"
	"time"

	"drctl/internal/platform"
)

func TestWhatHasNoWorkerIsNamedWithTheWayOut(t *testing.T) {
	t.Parallel()

	now := time.Now()
	queue := func(region, host string, role platform.Role, polled time.Time, by ...string) Queue {
		return Queue{Place: platform.Place{Region: region, Host: host}, Role: role, Queue: platform.Queue("drctl.shop."+region, host, role), For: by, Polled: polled}
	}
	all := []Queue{
		queue("east", "", platform.Archive, now, "the archiver of orders/0"),
		queue("west", "", platform.Archive, time.Time{}, "the archiver of carts/0", "the archiver of carts/1"),
		queue("east", "pg0", platform.Base, now.Add(-time.Hour), "orders/0@east"),
		queue("east", "pg1", platform.Base, now, "orders/1@east"),
		queue("east", "drill1", platform.Sandbox, time.Time{}, "the drill nightly"),
	}
	lacks := Lacks(all, func(string) bool { return true })

	var got []string
	for _, l := range lacks {
		got = append(got, l.What+"; "+l.Needed+"; "+l.Next)
	}

	want := []string{
		"no worker of west has the role archive; the archiver of carts/0 and 1 other; start: drctl worker --region west --role archive",
		"no worker serves host pg0; orders/0@east; start on pg0: drctl worker --region east --host pg0",
		"no worker serves host drill1 in the role sandbox; the drill nightly; start on drill1: drctl worker --region east --host drill1 --role sandbox",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	if !lacks[1].Polled.Equal(now.Add(-time.Hour)) || !lacks[1].Host || lacks[0].Host {
		t.Errorf("%+v", lacks)
	}

	// Work for one of two machines of a name may land on the other.
	all[3].Machines = []string{"box1", "box2"}
	lacks = Lacks(all, func(string) bool { return true })

	if l := lacks[2]; !l.Twice || l.What != "host pg1 is served by workers of box1 and of box2" || l.Queue.Host != "pg1" {
		t.Errorf("%+v", l)
	}
	all[3].Machines = nil

	// Where nobody serves the region at all, nothing is said of its roles; hosts are
	// started one by one.
	lacks = Lacks(all, func(string) bool { return false })
	if len(lacks) != 2 || lacks[0].Queue.Host != "pg0" || lacks[1].Queue.Host != "drill1" {
		t.Errorf("%+v", lacks)
	}
}
