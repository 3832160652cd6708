package client

import (
	"testing"

	"drctl/targets"
)

// What a person pastes into a shell reaches the instance, whatever its password;
// without a password the client asks for one.
func TestLine(t *testing.T) {
	for _, c := range []struct {
		in   targets.Instance
		want string
	}{
		{
			targets.Instance{Kind: targets.Postgres, Address: "127.0.0.1:5433", User: "drctl", Password: targets.NewSecret("it's"), Database: "shop"},
			`PGPASSWORD='it'\''s' psql -h 127.0.0.1 -p 5433 -U drctl -d shop`,
		},
		{targets.Instance{Kind: targets.Postgres, Address: "127.0.0.1:5433", User: "drctl"}, `psql -h 127.0.0.1 -p 5433 -U drctl`},
		{targets.Instance{Kind: targets.Redis, Address: "[::1]:6379", Password: targets.NewSecret("x")}, `REDISCLI_AUTH=x redis-cli -h ::1 -p 6379`},
		{targets.Instance{Kind: targets.Redis, Address: "127.0.0.1:6379"}, `redis-cli -h 127.0.0.1 -p 6379 --askpass`},
		{
			targets.Instance{Kind: targets.S3, Address: "http://127.0.0.1:7070", User: "key", Password: targets.NewSecret("$x"), Database: "media"},
			`AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY='$x' aws --endpoint-url http://127.0.0.1:7070 s3 ls s3://media/`,
		},
		{targets.Instance{Kind: targets.Postgres}, ""},
		{targets.Instance{Kind: "stone", Address: "x:1"}, ""},
	} {
		if got := Line(c.in); got != c.want {
			t.Errorf("%s\n%s", got, c.want)
		}
	}

	for _, kind := range []targets.Kind{targets.Postgres, targets.Redis, targets.S3} {
		if clients[kind] == nil {
			t.Errorf("%s has no client", kind)
		}
	}
}
