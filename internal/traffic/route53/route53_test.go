package route53_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/internal/traffic/route53"
	"drctl/internal/traffic/traffictest"
	"drctl/targets"
)

const secret = "s3cr3t-word"

type record struct {
	Name, Type    string
	SetIdentifier string  `xml:",omitempty"`
	TTL           int64   `xml:",omitempty"`
	Values        []value `xml:"ResourceRecords>ResourceRecord"`
}

type value struct{ Value string }

func (r record) String() string {
	var out []string
	for _, v := range r.Values {
		out = append(out, v.Value)
	}

	return strings.Join(out, " ")
}

// zone is a server that speaks the XML of Route 53 and has one zone. A change is seen by
// its API at once and by its resolvers only after it was asked for twice, as with the
// real one.
type zone struct {
	mu      sync.Mutex
	records map[string]record
	seen    map[string]record // by resolvers
	asked   map[string]int
	batches int
	status  int // what it answers with, when it is not well
}

func serve(t *testing.T, records ...record) (*zone, string) {
	t.Helper()

	z := &zone{records: map[string]record{}, seen: map[string]record{}, asked: map[string]int{}}
	for _, r := range records {
		z.records[r.Name+r.Type], z.seen[r.Name+r.Type] = r, r
	}

	s := httptest.NewServer(z)
	t.Cleanup(s.Close)

	return z, s.URL
}

func (z *zone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	z.mu.Lock()
	defer z.mu.Unlock()

	w.Header().Set("Content-Type", "text/xml")

	switch {
	case z.status != 0:
		refuse(w, z.status, "SomeError", "it is not well")
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=drctl/"):
		refuse(w, 403, "AccessDenied", "who are you?")
	case strings.HasPrefix(r.URL.Path, "/2013-04-01/change/"):
		z.change(w, strings.TrimPrefix(r.URL.Path, "/2013-04-01/change/"))
	case !strings.HasPrefix(r.URL.Path, "/2013-04-01/hostedzone/Z1/rrset"):
		refuse(w, 404, "NoSuchHostedZone", "no zone of that id")
	case r.Method == http.MethodGet:
		z.list(w, r)
	default:
		z.apply(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, message)
}

func (z *zone) list(w http.ResponseWriter, r *http.Request) {
	out := struct {
		XMLName     xml.Name `xml:"ListResourceRecordSetsResponse"`
		Sets        []record `xml:"ResourceRecordSets>ResourceRecordSet"`
		IsTruncated bool
		MaxItems    int
	}{MaxItems: 2}
	if have, ok := z.records[r.URL.Query().Get("name")+r.URL.Query().Get("type")]; ok {
		out.Sets = append(out.Sets, have)
	}

	_ = xml.NewEncoder(w).Encode(out)
}

func (z *zone) apply(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Changes []struct {
			Action            string
			ResourceRecordSet record
		} `xml:"ChangeBatch>Changes>Change"`
	}
	if err := xml.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, "InvalidInput", err.Error())
		return
	}

	for _, c := range in.Changes {
		if c.Action != "UPSERT" || c.ResourceRecordSet.TTL == 0 || len(c.ResourceRecordSet.Values) == 0 {
			refuse(w, 400, "InvalidChangeBatch", "that is no change")
			return
		}
	}

	z.batches++
	for _, c := range in.Changes {
		z.records[c.ResourceRecordSet.Name+c.ResourceRecordSet.Type] = c.ResourceRecordSet
	}

	id := fmt.Sprintf("C%d", z.batches)
	fmt.Fprintf(w, `<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/%s</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>`, id)
}

func (z *zone) change(w http.ResponseWriter, id string) {
	status := "PENDING"
	if z.asked[id]++; z.asked[id] >= 2 {
		status = "INSYNC"

		for k, r := range z.records {
			z.seen[k] = r
		}
	}

	fmt.Fprintf(w, `<GetChangeResponse><ChangeInfo><Id>/change/%s</Id><Status>%s</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></GetChangeResponse>`, id, status)
}

func (z *zone) set(r record) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[r.Name+r.Type], z.seen[r.Name+r.Type] = r, r
}

func plain(name, kind string, values ...string) record {
	r := record{Name: name, Type: kind, TTL: 300}
	for _, v := range values {
		r.Values = append(r.Values, value{v})
	}

	return r
}

func spec(url string) route53.Spec {
	return route53.Spec{Route: traffic.Route{Name: "web", Kind: traffic.Route53, Service: "web", Regions: []string{"east", "west"}},
		Zone: "Z1", AccessKey: "drctl", SecretKey: targets.NewSecret(secret), Endpoint: url, Poll: time.Millisecond,
		Records: []route53.Record{
			{Name: "www.example.com", Type: "A", TTL: 30 * time.Second, Values: map[string][]string{"east": {"10.0.0.1", "10.0.0.2"}, "west": {"10.1.0.1"}}},
			{Name: "api.example.com.", Type: "CNAME", Values: map[string][]string{"east": {"lb.east.example.com"}, "west": {"lb.west.example.com"}}},
		}}
}

func east() []record {
	return []record{plain("www.example.com.", "A", "10.0.0.2", "10.0.0.1"), plain("api.example.com.", "CNAME", "lb.east.example.com.")}
}

func driver(t *testing.T, s route53.Spec) *route53.Driver {
	t.Helper()

	d, err := route53.New(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}

	return d
}

func TestRecords(t *testing.T) {
	z, url := serve(t, east()...)

	traffictest.Run(t, traffictest.Rig{Route: spec(url).Route, East: "east", West: "west", Secret: secret, Rounds: 20,
		New: func(t *testing.T) traffic.Driver { return driver(t, spec(url)) },
		Ask: func(context.Context) (string, error) {
			z.mu.Lock()
			defer z.mu.Unlock()

			www, api := z.seen["www.example.com.A"], z.seen["api.example.com.CNAME"]
			switch www.String() + " " + api.String() {
			case "10.0.0.2 10.0.0.1 lb.east.example.com.":
				return "east", nil
			case "10.1.0.1 lb.west.example.com":
				return "west", nil
			}

			return "", fmt.Errorf("resolvers say %s and %s", www, api)
		}})

	t.Run("all records change in one batch", func(t *testing.T) {
		before := z.batches

		if err := driver(t, spec(url)).Point(t.Context(), "west"); err != nil {
			t.Fatal(err)
		}

		if z.batches != before+1 {
			t.Errorf("%d batches", z.batches-before)
		}

		if www, api := z.records["www.example.com.A"], z.records["api.example.com.CNAME"]; www.TTL != 30 || api.TTL != 300 {
			t.Errorf("the records have TTLs of %d and %d s", www.TTL, api.TTL)
		}
	})
}

func TestOthersRecordsAreLeft(t *testing.T) {
	for name, c := range map[string]struct {
		record record
		code   fail.Code
	}{
		"values of no region": {plain("api.example.com.", "CNAME", "lb.south.example.com"), fail.Conflict},
		"a routing policy":    {record{Name: "api.example.com.", Type: "CNAME", TTL: 60, SetIdentifier: "a", Values: []value{{"lb.east.example.com"}}}, fail.Unsupported},
		"another type":        {plain("api.example.com.", "A", "10.0.0.1"), fail.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			z, url := serve(t, east()[0], c.record)

			if err := driver(t, spec(url)).Point(t.Context(), "west"); !fail.Is(err, c.code) {
				t.Errorf("point: %v", err)
			}

			if z.batches != 0 {
				t.Error("something was changed")
			}
		})
	}
}

func TestHalfByHand(t *testing.T) {
	z, url := serve(t, east()...)
	z.set(plain("api.example.com.", "CNAME", "lb.west.example.com"))
	d := driver(t, spec(url))

	s, err := d.Read(t.Context())
	if err != nil || s.Region != "" {
		t.Errorf("read: %+v, %v", s, err)
	}

	if len(s.Warnings) != 2 || !strings.Contains(s.Warnings[0], "TTL is 5 min") {
		t.Errorf("warnings: %q", s.Warnings)
	}

	if err := d.Point(t.Context(), "west"); err != nil {
		t.Fatal(err)
	}

	if s, err = d.Read(t.Context()); err != nil || s.Region != "west" {
		t.Errorf("read: %+v, %v", s, err)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	z, url := serve(t, east()...)

	other := spec(url)
	other.Zone = "Z2"

	if _, err := driver(t, other).Read(t.Context()); !fail.Is(err, fail.NotFound) {
		t.Errorf("a zone that is not there: %v", err)
	}

	other = spec(url)
	other.AccessKey = "nobody"

	if _, err := driver(t, other).Read(t.Context()); !fail.Is(err, fail.Denied) || strings.Contains(err.Error(), secret) {
		t.Errorf("a key that may not: %v", err)
	}

	z.status = 400

	if err := driver(t, spec(url)).Point(t.Context(), "west"); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a server that is not well: %v", err)
	}

	z.status = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if err := driver(t, spec(url)).Point(ctx, "west"); !fail.Is(err, fail.Unavailable) {
		t.Errorf("given up: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for name, change := range map[string]func(*route53.Spec){
		"no zone":       func(s *route53.Spec) { s.Zone = "" },
		"no record":     func(s *route53.Spec) { s.Records = nil },
		"a region less": func(s *route53.Spec) { delete(s.Records[0].Values, "west") },
		"twice the same": func(s *route53.Spec) {
			s.Records[1].Values = map[string][]string{"east": {"a"}, "west": {"a"}}
		},
	} {
		s := spec("http://127.0.0.1:1")
		change(&s)

		if _, err := route53.New(t.Context(), s); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
