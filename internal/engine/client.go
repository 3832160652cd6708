package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"
	"google.golang.org/grpc"

	"drctl/internal/engine/handshake"
	"drctl/internal/engine/lines"
	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// DefaultNamespace is drctl's namespace where none is configured.
const DefaultNamespace = "drctl"

// Options say how to reach an engine.
type Options struct {
	Address   string // host:port
	Namespace string // "" is DefaultNamespace
	// Dir is the directory of an embedded engine, which lets in those alone who
	// can read its certificate there; TLS and APIKey are then of no use.
	Dir string
	TLS *TLS // nil is plain text, unless an API key is set
	// APIKey is sent with every call; it needs TLS, which it switches on.
	APIKey targets.Secret
	// Identity names this client in histories; "" is pid@host.
	Identity string
	// Timeout bounds the dialling; 0 is 10 seconds.
	Timeout time.Duration
	Log     *slog.Logger // nil discards
}

// TLS says how a connection is secured. Zero fields mean the system's roots,
// no client certificate, and the name in the address.
type TLS struct {
	CAFile, CertFile, KeyFile string
	ServerName                string
}

func (t TLS) config() (*tls.Config, error) {
	const op = "engine: read TLS files"

	roots, err := tlsconf.Roots(op, t.CAFile)
	if err != nil {
		return nil, err
	}

	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, RootCAs: roots}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, fail.New(fail.Invalid, op, t.CertFile+t.KeyFile, "give both the certificate and its key", errors.New("one is missing"))
	}

	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fail.New(fail.Invalid, op, t.CertFile, "", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}

	return c, nil
}

// Dial connects to an engine and checks that the namespace can be used:
// unavailable when nothing answers, denied when the caller is refused or does
// not trust the server, or the embedded engine is another user's, conflict when
// something else has the embedded engine's port, invalid when
// the TLS files cannot be used, not-found when the namespace does not exist. The
// caller closes the client.
func Dial(ctx context.Context, o Options) (client.Client, error) {
	const op = "engine: dial"
	if o.Address == "" {
		return nil, fail.Newf(fail.Invalid, op, "address", "it is empty")
	}

	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}

	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}

	opt := client.Options{
		HostPort: o.Address, Namespace: o.Namespace, Identity: o.Identity, Logger: Logger(o.Log),
		FailureConverter: failures{},
	}
	if !o.APIKey.IsZero() {
		opt.Credentials = client.NewAPIKeyStaticCredentials(o.APIKey.Reveal())
		if o.TLS == nil {
			o.TLS = &TLS{}
		}
	}

	switch {
	case o.Dir != "":
		c, err := Identity(o.Dir)
		if err != nil {
			return nil, err
		}
		opt.ConnectionOptions.TLS = c
		opt.ConnectionOptions.DialOptions = []grpc.DialOption{grpc.WithTransportCredentials(newIdentityCredentials(o.Dir, c))}
	case o.TLS != nil:
		c, err := o.TLS.config()
		if err != nil {
			return nil, err
		}
		opt.ConnectionOptions.TLS = c
	}

	dctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	c, err := client.DialContext(dctx, opt)
	if err == nil {
		if err = checkNamespace(dctx, c, o.Namespace); err == nil {
			return c, nil
		}

		c.Close()
	}

	return nil, dialError(ctx, op, o, opt.ConnectionOptions.TLS, err)
}

// dialError grades why dialling failed.
func dialError(ctx context.Context, op string, o Options, c *tls.Config, err error) error {
	code, hint := serviceCode(err), ""
	if code != fail.NotFound && code != fail.Denied && c != nil {
		if fresh, err := Identity(o.Dir); o.Dir != "" && err == nil {
			c = fresh // a restarted engine has another
		}

		why, foreign := handshake.Refusal(ctx, o.Address, c)
		if o.Dir != "" && (why != nil || foreign) {
			return fail.New(fail.Conflict, op, o.Address, "stop what listens there, or give this platform a port of its own, as in engine: {address: 127.0.0.1:7234}",
				fmt.Errorf("another process has the port: a Temporal server, or the engine of another platform; it is not the engine of %s", o.Dir))
		}

		if why != nil {
			return fail.New(fail.Denied, op, fmt.Sprintf("%s (namespace %s)", o.Address, o.Namespace),
				"check the CA file, the server name and the client certificate", why)
		}
	}

	switch code {
	case fail.NotFound:
		hint = "create the namespace, or name another"
	case fail.Denied:
		hint = "check the API key or the client certificate, and what it may do in the namespace"
	case fail.Internal, fail.Stalled, fail.Unavailable:
		code, hint = fail.Unavailable, "check the address and whether the server runs and speaks TLS or not as configured"
	}

	return fail.New(code, op, fmt.Sprintf("%s (namespace %s)", o.Address, o.Namespace), hint, err)
}

// Logger hands the SDK's log lines to slog; nil discards them.
func Logger(log *slog.Logger) sdklog.Logger { return lines.Logger(log, coded) }

// WorkerOptions bound a worker. Zero fields take the defaults named.
type WorkerOptions struct {
	Identity string // "" is that of the client
	// MaxActivities is how many activities run at once (100).
	MaxActivities int
	// NoWorkflows and NoActivities leave those to other workers of the queue.
	NoWorkflows, NoActivities bool
	// MaxWorkflowTasks is how many workflow tasks run at once (50).
	MaxWorkflowTasks int
	// StopTimeout is how long Stop waits for running activities, which see
	// activity.GetWorkerStopChannel close (20 s).
	StopTimeout time.Duration
	// Log gets the failures of activities; nil discards. Labels says what an input
	// of an activity or a workflow is about, for their lines; nil says nothing.
	Log    *slog.Logger
	Labels func(in any) []slog.Attr
	// OnFatal is called when the worker cannot go on, such as when the
	// namespace disappears.
	OnFatal func(error)
}

// heartbeatEvery bounds how old the progress that others see can be, and how
// late a cancellation arrives. The SDK's own limit is 80 % of the heartbeat
// timeout, which is too long for a person who watches. It must not be short
// either: the SDK gives the call that reports a heartbeat exactly this long
// and cancels the activity when the engine takes longer, as one with a busy
// disk does (seen: at 1 s, backups cancelled over and over under load).
const heartbeatEvery = 5 * time.Second

// NewWorker makes a worker for a task queue; the caller registers workflows
// and activities, starts and stops it.
func NewWorker(c client.Client, queue string, o WorkerOptions) worker.Worker {
	if o.MaxActivities <= 0 {
		o.MaxActivities = 100
	}

	if o.MaxWorkflowTasks <= 0 {
		o.MaxWorkflowTasks = 50
	}

	if o.StopTimeout <= 0 {
		o.StopTimeout = 20 * time.Second
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	if o.Labels == nil {
		o.Labels = func(any) []slog.Attr { return nil }
	}

	return worker.New(c, queue, worker.Options{
		Identity:                               o.Identity,
		MaxConcurrentActivityExecutionSize:     o.MaxActivities,
		DisableWorkflowWorker:                  o.NoWorkflows,
		LocalActivityWorkerOnly:                o.NoActivities,
		MaxConcurrentWorkflowTaskExecutionSize: o.MaxWorkflowTasks,
		WorkerStopTimeout:                      o.StopTimeout,
		MaxHeartbeatThrottleInterval:           heartbeatEvery,
		DefaultHeartbeatThrottleInterval:       heartbeatEvery,
		// A cached workflow of a worker that died is looked for this long.
		StickyScheduleToStartTimeout: 2 * time.Second,
		OnFatalError:                 o.OnFatal,
		Interceptors:                 []interceptor.WorkerInterceptor{&lines.Interceptor{Log: o.Log, Labels: o.Labels, Coded: coded}},
	})
}
