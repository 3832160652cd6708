package route

import (
	"time"

	"drctl/config/secret"
)

// Route is a way by which clients reach a shard or a service. Which keys apply depends
// on Kind.
type Route struct {
	Kind    string `yaml:"kind" req:"true" enum:"haproxy|pgbouncer|route53|exec|http" doc:"What routes the clients."`
	Shard   string `yaml:"shard" format:"shardid" doc:"Shard (target/shard) that it leads to."`
	Service string `yaml:"service" format:"name" doc:"Instead of a shard: a service of the platform that is no store."`
	In      string `yaml:"in" doc:"Region in which all that routes stands, and with which it is lost; left out when no region takes it away."`

	Backends map[string]*Backend `yaml:"backends" only:"haproxy|pgbouncer" key:"name" doc:"Where clients are sent, by region."`

	Sockets []string `yaml:"sockets" only:"haproxy" doc:"Runtime APIs (stats socket, level admin) of all proxies: a path, or host:port."`
	Backend string   `yaml:"backend" only:"haproxy" format:"word" doc:"HAProxy's backend that holds the servers."`

	Poolers  []Pooler   `yaml:"poolers" only:"pgbouncer" doc:"All PgBouncers that lead to the shard."`
	Database string     `yaml:"database" only:"pgbouncer" format:"word" doc:"Name of the database in PgBouncer."`
	User     string     `yaml:"user" only:"pgbouncer" doc:"User of the console, one of admin_users."`
	Password secret.Ref `yaml:"password" only:"pgbouncer" doc:"The user's password."`
	TLS      string     `yaml:"tls" only:"pgbouncer" enum:"disable|require|verify-full" doc:"Encryption of the console; disable when left out."`
	CAFile   string     `yaml:"ca_file" only:"pgbouncer|http" format:"path" doc:"Certificate authority of the servers, in PEM."`
	Sessions string     `yaml:"sessions" only:"pgbouncer" enum:"refuse|kill" doc:"Clients of pools in session mode. refuse: such a pool is not held. kill: they are disconnected and wait when they connect again."`

	Zone      string     `yaml:"zone" only:"route53" format:"word" doc:"Id of the hosted zone."`
	Records   []Record   `yaml:"records" only:"route53" doc:"Records that change together."`
	AccessKey string     `yaml:"access_key" only:"route53" doc:"AWS access key id; without it the worker's own credentials are used."`
	SecretKey secret.Ref `yaml:"secret_key" only:"route53" doc:"AWS secret access key."`

	Regions  []string              `yaml:"regions" only:"exec|http" doc:"Regions that the hooks know."`
	Commands map[string]Command    `yaml:"commands" only:"exec" key:"name" doc:"Programs by hook: read, hold, isolate, point, release, undo."`
	Env      map[string]secret.Ref `yaml:"env" only:"exec" key:"envname" doc:"Secrets for the programs' environment."`
	Requests map[string]Request    `yaml:"requests" only:"http" key:"name" doc:"Requests by hook: read, hold, isolate, point, release, undo."`
	Headers  map[string]secret.Ref `yaml:"headers" only:"http" key:"word" doc:"Secrets for the requests' headers."`
	Limit    time.Duration         `yaml:"limit" only:"exec|http" min:"1ms" doc:"Longest time of one hook; 30s when left out."`
	Lag      time.Duration         `yaml:"lag" only:"exec|http" min:"0s" doc:"How long clients may go on to use the old place."`
}

// Backend is where the clients of a region are sent.
type Backend struct {
	Address string `yaml:"address" format:"addr" doc:"host:port; for haproxy ip:port, and left out where each region has a server of its own."`
	Server  string `yaml:"server" format:"word" doc:"haproxy: name of the server in the backend."`
}

// Pooler is one PgBouncer.
type Pooler struct {
	Address string `yaml:"address" req:"true" format:"addr" doc:"host:port of the console."`
	File    string `yaml:"file" format:"path" doc:"File with the line of the database, which the worker can write; left out where another route is behind the poolers."`
}

// Record is one set of records.
type Record struct {
	Name   string              `yaml:"name" req:"true" doc:"Full name."`
	Type   string              `yaml:"type" req:"true" enum:"A|AAAA|CNAME" doc:"Type."`
	TTL    time.Duration       `yaml:"ttl" min:"0s" doc:"What the record gets; left out, it keeps what it has."`
	Values map[string][]string `yaml:"values" req:"true" key:"name" doc:"Values by region."`
}

// Command is a program and its arguments.
type Command struct {
	Run []string `yaml:"run" req:"true" doc:"Absolute path and arguments, without a shell; {region}, {route} and {was} are replaced."`
}

// Request is a hook over HTTP.
type Request struct {
	Method string `yaml:"method" enum:"GET|POST|PUT|PATCH|DELETE" doc:"GET for read and POST for the others when left out."`
	URL    string `yaml:"url" req:"true" quiet:"true" doc:"URL; {region}, {route} and {was} are replaced."`
	Body   string `yaml:"body" doc:"Body, as JSON; one that says hook, route, region and state when left out."`
}
