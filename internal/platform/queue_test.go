package platform

import (
	"testing"

	"drctl/internal/fail"
)

func TestQueuesComeApartAsTheyWereMade(t *testing.T) {
	t.Parallel()

	seen := map[string]bool{}
	for _, host := range []string{"", "pg0", "pg0.example.org"} {
		for _, role := range []Role{Archive, Base, Sandbox} {
			q := Queue("drctl.shop.east", host, role)
			if region, h, r := QueueOf(q); region != "drctl.shop.east" || h != host || r != role {
				t.Errorf("%s is of %q, %q, %q", q, region, h, r)
			}

			if seen[q] {
				t.Errorf("two are called %s", q)
			}
			seen[q] = true
		}
	}

	// What is older than roles asks the region's queue, and that of the host.
	if q := Queue("drctl.shop.east", "", Base); q != "drctl.shop.east" {
		t.Error(q)
	}

	if q := Queue("drctl.shop.east", "pg0", ""); q != "drctl.shop.east@pg0" {
		t.Error(q)
	}
}

func TestAnotherHostsWorkIsRefused(t *testing.T) {
	t.Parallel()

	if err := Placed("pg0", "", "restore-orders/0"); err != nil {
		t.Error(err)
	}

	if err := Placed("pg0", "pg0", "restore-orders/0"); err != nil {
		t.Error(err)
	}

	if err := Placed("pg1", "pg0", "restore-orders/0"); !fail.Is(err, fail.Conflict) || fail.Retryable(err) {
		t.Error(err)
	}
}

func TestServeWithIsTheCommand(t *testing.T) {
	t.Parallel()

	for want, q := range map[string]struct {
		host string
		role Role
	}{
		"drctl worker --region west":                              {"", Base},
		"drctl worker --region west --host pg0":                   {"pg0", Base},
		"drctl worker --region west --host drill1 --role sandbox": {"drill1", Sandbox},
	} {
		if got := ServeWith("west", q.host, q.role); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
