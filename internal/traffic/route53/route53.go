package route53

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/retry"
	"drctl/internal/traffic"
	"drctl/targets"
)

// Spec is a route of Route 53.
type Spec struct {
	Route traffic.Route
	// Zone is the id of the hosted zone.
	Zone    string
	Records []Record
	// AccessKey and SecretKey; without them those of the environment count.
	AccessKey string
	SecretKey targets.Secret
	// Endpoint is a URL; "" is AWS itself.
	Endpoint string
	// Poll is the first pause between two looks whether a change is in sync; 0 is a second.
	Poll time.Duration
}

// Record is one set of records of the zone.
type Record struct {
	Name, Type string
	// TTL is what the record gets; 0 leaves it what it has.
	TTL time.Duration
	// Values by region.
	Values map[string][]string
}

// String is "name type".
func (r Record) String() string { return r.Name + " " + r.Type }

// longTTL is what is warned of: nobody waits that long on the day.
const longTTL = time.Minute

var _ traffic.Driver = (*Driver)(nil)

// Driver moves records.
type Driver struct {
	spec   Spec
	client *sdk.Client
}

// New checks a route's configuration. It connects to nothing, but for credentials
// of the environment that a server hands out.
func New(ctx context.Context, s Spec) (*Driver, error) {
	const op = "traffic: route53"
	if s.Zone == "" || len(s.Records) == 0 {
		return nil, fail.Newf(fail.Invalid, op, s.Route.String(), "it needs a zone and a record")
	}

	for i, r := range s.Records {
		s.Records[i].Name = strings.TrimSuffix(r.Name, ".") + "."

		for _, region := range s.Route.Regions {
			if len(r.Values[region]) == 0 {
				return nil, fail.Newf(fail.Invalid, op, s.Route.String(), "record %s has no values for region %s", r, region)
			}
		}

		if err := distinct(r); err != nil {
			return nil, fail.New(fail.Invalid, op, s.Route.String(), "give each region values of its own", err)
		}
	}

	if s.Poll <= 0 {
		s.Poll = time.Second
	}

	o := sdk.Options{Region: "us-east-1"} // the one that signs for all
	if s.Endpoint != "" {
		o.BaseEndpoint = aws.String(s.Endpoint)
	}

	if s.AccessKey != "" {
		o.Credentials = credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey.Reveal(), "")
	} else {
		cfg, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, fail.New(fail.Denied, op, s.Route.String(), "give access_key and secret_key, or credentials of the environment", err)
		}
		o.Credentials = cfg.Credentials
	}

	return &Driver{s, sdk.New(o)}, nil
}

// distinct checks that a record tells regions apart.
func distinct(r Record) error {
	seen := map[string]string{}
	for _, region := range slices.Sorted(maps.Keys(r.Values)) {
		key := strings.Join(slices.Sorted(slices.Values(r.Values[region])), " ")
		if other, ok := seen[key]; ok {
			return fmt.Errorf("record %s has the same values for %s and %s", r, other, region)
		}
		seen[key] = region
	}

	return nil
}

// Can says that names are pointed, and that caches know the old one for a while. A
// TTL that the configuration does not give is not known here; Read warns of long ones.
func (d *Driver) Can() traffic.Abilities {
	a := traffic.Abilities{Point: true, Lag: longTTL}

	for i, r := range d.spec.Records {
		if i == 0 {
			a.Lag = 0
		}

		a.Lag = max(a.Lag, r.TTL)
		if r.TTL == 0 {
			a.Lag = max(a.Lag, longTTL)
		}
	}

	return a
}

// Close does nothing.
func (d *Driver) Close() {}

// keySet is the whole set of records as it was.
const keySet = "set"

// set is what undo needs of a set of records.
type set struct {
	TTL    int64    `json:"ttl_seconds"`
	Values []string `json:"values"`
}

// Read asks for every record.
func (d *Driver) Read(ctx context.Context) (traffic.State, error) {
	const op = "traffic: read"
	parts := make([]traffic.Part, len(d.spec.Records))

	var warnings []string
	for i, r := range d.spec.Records {
		now, err := d.record(ctx, op, r)
		if err != nil {
			return traffic.State{}, err
		}

		b, err := json.Marshal(now)
		if err != nil {
			return traffic.State{}, fail.New(fail.Internal, op, r.String(), "", err)
		}

		parts[i] = traffic.Part{Name: r.String(), Address: strings.Join(now.Values, " "), Region: region(r, now.Values), Was: map[string]string{keySet: string(b)}}

		if ttl := time.Duration(now.TTL) * time.Second; ttl > longTTL {
			warnings = append(warnings, fmt.Sprintf("%s: its TTL is %s; clients may use the old address for as long", r, human.Duration(ttl)))
		}
	}

	return traffic.NewState(d.spec.Route.Name, parts, warnings...), nil
}

// region is the one that values are of.
func region(r Record, values []string) string {
	have := slices.Sorted(slices.Values(values))
	for name, want := range r.Values {
		if slices.EqualFunc(have, slices.Sorted(slices.Values(want)), equalName) {
			return name
		}
	}

	return ""
}

// equalName compares values, which may be names with and without the last dot.
func equalName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// record reads a set of records, of the plain kind that drctl changes.
func (d *Driver) record(ctx context.Context, op string, r Record) (set, error) {
	out, err := d.client.ListResourceRecordSets(ctx, &sdk.ListResourceRecordSetsInput{HostedZoneId: &d.spec.Zone,
		StartRecordName: &r.Name, StartRecordType: types.RRType(r.Type), MaxItems: aws.Int32(2)})
	if err != nil {
		return set{}, d.failed(ctx, op, err)
	}

	var found []types.ResourceRecordSet
	for _, s := range out.ResourceRecordSets {
		if equalName(aws.ToString(s.Name), r.Name) && string(s.Type) == r.Type {
			found = append(found, s)
		}
	}

	switch {
	case len(found) == 0:
		return set{}, fail.New(fail.NotFound, op, r.String(), "make it first: drctl changes records and makes none", fmt.Errorf("zone %s has no such record", d.spec.Zone))
	case len(found) > 1 || found[0].SetIdentifier != nil:
		return set{}, fail.New(fail.Unsupported, op, r.String(), "use a plain record, or hooks", errors.New("the record has a routing policy"))
	case found[0].AliasTarget != nil:
		return set{}, fail.New(fail.Unsupported, op, r.String(), "use a plain record, or hooks", errors.New("the record is an alias"))
	}

	s := set{TTL: aws.ToInt64(found[0].TTL)}
	for _, v := range found[0].ResourceRecords {
		s.Values = append(s.Values, aws.ToString(v.Value))
	}

	return s, nil
}

// Hold cannot be done to a name.
func (d *Driver) Hold(context.Context) error {
	return traffic.CannotDo("traffic: hold", d.spec.Route, "names cannot be held")
}

// Isolate cannot be done to a name.
func (d *Driver) Isolate(context.Context) error {
	return traffic.CannotDo("traffic: isolate", d.spec.Route, "resolvers answer from their caches")
}

// Release has nothing to end.
func (d *Driver) Release(context.Context, string, traffic.State) error {
	return traffic.CannotDo("traffic: release", d.spec.Route, "names are never held")
}

// Point gives all records the region's values, in one batch. Those that have them get
// them again: an earlier call may have been killed before the servers knew of it, and
// only a change of one's own can be waited for.
func (d *Driver) Point(ctx context.Context, to string) error {
	const op = "traffic: point"
	if !slices.Contains(d.spec.Route.Regions, to) {
		return traffic.UnknownRegion(op, d.spec.Route, to)
	}

	var changes []types.Change
	for _, r := range d.spec.Records {
		now, err := d.record(ctx, op, r)
		if err != nil {
			return err
		}

		if region(r, now.Values) == "" {
			return fail.New(fail.Conflict, op, r.String(), "put it right by hand, or add the values to the configuration",
				fmt.Errorf("it holds %s, which is of no region of the route", strings.Join(now.Values, " ")))
		}

		want := set{TTL: now.TTL, Values: r.Values[to]}
		if r.TTL > 0 {
			want.TTL = int64(r.TTL / time.Second)
		}

		changes = append(changes, upsert(r, want))
	}

	return d.change(ctx, op, changes)
}

// Undo gives every record the values and the TTL that were read.
func (d *Driver) Undo(ctx context.Context, was traffic.State) error {
	const op = "traffic: undo"

	var changes []types.Change
	for _, r := range d.spec.Records {
		var old set

		p, ok := was.Part(r.String())
		if !ok || json.Unmarshal([]byte(p.Was[keySet]), &old) != nil || len(old.Values) == 0 {
			return traffic.OtherState(op, d.spec.Route, r.String())
		}

		if _, err := d.record(ctx, op, r); err != nil {
			return err
		}

		changes = append(changes, upsert(r, old))
	}

	return d.change(ctx, op, changes)
}

func upsert(r Record, s set) types.Change {
	out := &types.ResourceRecordSet{Name: &r.Name, Type: types.RRType(r.Type), TTL: &s.TTL}
	for _, v := range s.Values {
		out.ResourceRecords = append(out.ResourceRecords, types.ResourceRecord{Value: &v})
	}

	return types.Change{Action: types.ChangeActionUpsert, ResourceRecordSet: out}
}

// change makes the changes and waits until they are everywhere.
func (d *Driver) change(ctx context.Context, op string, changes []types.Change) error {
	out, err := d.client.ChangeResourceRecordSets(ctx, &sdk.ChangeResourceRecordSetsInput{HostedZoneId: &d.spec.Zone,
		ChangeBatch: &types.ChangeBatch{Changes: changes, Comment: aws.String("drctl: route " + d.spec.Route.Name)}})
	if err != nil {
		return d.failed(ctx, op, err)
	}

	pause := retry.Policy{First: d.spec.Poll, Max: 5 * d.spec.Poll}.Start()
	for info := out.ChangeInfo; info.Status != types.ChangeStatusInsync; {
		if err := pause.Wait(ctx); err != nil {
			return d.failed(ctx, op, err)
		}

		got, err := d.client.GetChange(ctx, &sdk.GetChangeInput{Id: info.Id})
		if err != nil {
			return d.failed(ctx, op, err)
		}
		info = got.ChangeInfo
	}

	return nil
}

// failed turns what the SDK reports into an error of ours. Only ctx tells who has no
// more time from a server that does not answer.
func (d *Driver) failed(ctx context.Context, op string, err error) error {
	subject := d.spec.Route.String()
	if e := fail.FromContext(op, subject, ctx.Err()); e != nil {
		return e
	}

	var api smithy.APIError
	if !errors.As(err, &api) {
		return fail.New(fail.Unavailable, op, subject, "can Route 53 be reached from here?", err)
	}

	status := 0

	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}

	said := fmt.Errorf("the answer was %d %s: %s", status, api.ErrorCode(), api.ErrorMessage())
	switch {
	case status == 401 || status == 403:
		return fail.New(fail.Denied, op, subject, "allow route53:ListResourceRecordSets, route53:ChangeResourceRecordSets and route53:GetChange", said)
	case api.ErrorCode() == "NoSuchHostedZone" || status == 404:
		return fail.New(fail.NotFound, op, subject, "correct the id of the zone", said)
	case status == 400 && api.ErrorCode() == "InvalidChangeBatch":
		return fail.New(fail.Invalid, op, subject, "correct the values of the records", said)
	}

	return fail.New(fail.Unavailable, op, subject, "", said)
}
