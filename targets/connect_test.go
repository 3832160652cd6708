package targets

import "testing"

// What a person pastes into a shell reaches the instance, whatever its password;
// without a password the client asks for one.
func TestConnect(t *testing.T) {
	for _, c := range []struct {
		in   Instance
		want string
	}{
		{
			Instance{Kind: Postgres, Address: "127.0.0.1:5433", User: "drctl", Password: NewSecret("it's"), Database: "shop"},
			`PGPASSWORD='it'\''s' psql -h 127.0.0.1 -p 5433 -U drctl -d shop`,
		},
		{Instance{Kind: Postgres, Address: "127.0.0.1:5433", User: "drctl"}, `psql -h 127.0.0.1 -p 5433 -U drctl`},
		{Instance{Kind: Redis, Address: "[::1]:6379", Password: NewSecret("x")}, `REDISCLI_AUTH=x redis-cli -h ::1 -p 6379`},
		{Instance{Kind: Redis, Address: "127.0.0.1:6379"}, `redis-cli -h 127.0.0.1 -p 6379 --askpass`},
		{
			Instance{Kind: S3, Address: "http://127.0.0.1:7070", User: "key", Password: NewSecret("$x"), Database: "media"},
			`AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY='$x' aws --endpoint-url http://127.0.0.1:7070 s3 ls s3://media/`,
		},
		{Instance{Kind: Postgres}, ""},
		{Instance{Kind: "stone", Address: "x:1"}, ""},
	} {
		if got := c.in.Connect(); got != c.want {
			t.Errorf("%s\n%s", got, c.want)
		}
	}

	for kind := range traits {
		if clients[kind] == nil {
			t.Errorf("%s has no client", kind)
		}
	}
}
