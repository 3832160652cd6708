package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	localhost = "127.0.0.1"
	portFile  = "engine.port"
	cluster0  = "active"
)

// ports of the four services; the first is the one that clients use.
type ports [4]int

func (p ports) address() string { return p.host(0) }

func (p ports) host(i int) string { return net.JoinHostPort(localhost, strconv.Itoa(p[i])) }

// choosePorts takes the wanted port, else the one of the last run, so that
// clients find a restarted engine, else a free one; and three free ones for
// the inner services. It holds all of them open while it chooses, so they differ.
func choosePorts(dir string, want int) (p ports, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	take := func(port int) (int, error) {
		l, err := net.Listen("tcp4", net.JoinHostPort(localhost, strconv.Itoa(port)))
		if err != nil {
			return 0, err
		}
		held = append(held, l)
		return l.Addr().(*net.TCPAddr).Port, nil
	}
	file := filepath.Join(dir, portFile)
	if want == 0 {
		if b, err := os.ReadFile(file); err == nil {
			last, _ := strconv.Atoi(string(b))
			if last > 0 && last < 65536 {
				p[0], _ = take(last)
			}
		}
	}
	for i := range p {
		if p[i] != 0 {
			continue
		}
		port := 0
		if i == 0 {
			port = want
		}
		if p[i], err = take(port); err != nil {
			return p, &problem{Code: "conflict", Op: "engine: listen", Subject: net.JoinHostPort(localhost, strconv.Itoa(port)),
				Message: err.Error(), Hint: "another process has the port, perhaps the engine of another platform or a Temporal server: stop it, or give this platform a port of its own, as in engine: {address: 127.0.0.1:7234}"}
		}
	}
	if err := writeFile(file, []byte(strconv.Itoa(p[0]))); err != nil {
		return p, &problem{Code: "exhausted", Op: "engine: write port file", Subject: file, Message: err.Error()}
	}
	return p, nil
}

func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("address %q is not a loopback address", address)
	}
	return nil
}

// sqlConfig is the one way in which the database is opened while it serves:
// the server keys its single shared connection by exactly these values.
func sqlConfig(dir string) *config.SQL {
	return &config.SQL{
		PluginName:   sqliteplugin.PluginName,
		DatabaseName: filepath.Join(dir, databaseFile),
		MaxConns:     1,
		MaxIdleConns: 1,
		ConnectAttributes: map[string]string{
			"mode":         "rw",
			"journal_mode": "wal",
			"synchronous":  "full",
			"busy_timeout": "10000",
		},
	}
}

func serverConfig(o options, p ports) *config.Config {
	service := func(i int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: p[i], BindOnIP: localhost}}
	}
	c := &config.Config{
		Global: config.Global{
			Membership: config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: localhost},
		},
		Persistence: config.Persistence{
			DefaultStore:     sqliteplugin.PluginName,
			VisibilityStore:  sqliteplugin.PluginName,
			NumHistoryShards: 1, // fixed for the life of a database
			DataStores:       map[string]config.DataStore{sqliteplugin.PluginName: {SQL: sqlConfig(o.dir)}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        cluster0,
			CurrentClusterName:       cluster0,
			ClusterInformation: map[string]cluster.ClusterInformation{
				cluster0: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: p.address()},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			"frontend": service(0), "history": service(1), "matching": service(2), "worker": service(3),
		},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
		}},
		PublicClient: config.PublicClient{HostPort: p.address()},
	}
	if o.metrics != "" {
		c.Global.Metrics = &metrics.Config{Prometheus: &metrics.PrometheusConfig{ListenAddress: o.metrics, HandlerPath: "/metrics"}}
	}
	return c
}

func newServer(o options, p ports, id identity, log *slog.Logger) (temporal.Server, error) {
	c := serverConfig(o, p)
	ns, err := sqlite.NewNamespaceConfig(cluster0, o.namespace, false, nil)
	if err != nil {
		return nil, err
	}
	ns.Detail.Config.Retention = durationpb.New(o.retention)
	if err := sqlite.CreateNamespaces(sqlConfig(o.dir), ns); err != nil {
		return nil, storeError("engine: create namespace", filepath.Join(o.dir, databaseFile), err)
	}
	logger := &serverLog{log: log}
	authorizer, err := authorization.GetAuthorizerFromConfig(&c.Global.Authorization)
	if err != nil {
		return nil, err
	}
	mapper, err := authorization.GetClaimMapperFromConfig(&c.Global.Authorization, logger)
	if err != nil {
		return nil, err
	}
	return temporal.NewServer(
		temporal.WithConfig(c),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(map[primitives.ServiceName]static.Hosts{
			primitives.FrontendService: static.SingleLocalHost(p.host(0)),
			primitives.HistoryService:  static.SingleLocalHost(p.host(1)),
			primitives.MatchingService: static.SingleLocalHost(p.host(2)),
			primitives.WorkerService:   static.SingleLocalHost(p.host(3)),
		}),
		temporal.WithLogger(logger),
		// Who got through the handshake is the owner and may do everything.
		temporal.WithTLSConfigFactory(id.provider()),
		temporal.WithAuthorizer(authorizer),
		temporal.WithClaimMapper(func(*config.Config) authorization.ClaimMapper { return mapper }),
		temporal.WithDynamicConfigClient(dynamicconfig.StaticClient{
			// Nothing leaves the machine.
			dynamicconfig.EnableServerVersionCheck.Key(): false,
			// One partition per queue: with one connection to the database,
			// more only cost polls, and short queues wait to be matched.
			dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():      1,
			dynamicconfig.MatchingNumTaskqueueWritePartitions.Key():     1,
			dynamicconfig.ForceSearchAttributesCacheRefreshOnRead.Key(): true,
		}),
	)
}

func startError(o options, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return &problem{Code: "unavailable", Op: "engine: listen", Subject: o.dir, Message: err.Error(),
			Hint: "another process took the port in the meantime; try again"}
	}
	return &problem{Code: "internal", Op: "engine: start", Subject: o.dir, Message: err.Error()}
}

// settle waits until the namespace answers, then sets its retention when the
// one asked for is another than the one it was made with.
func settle(ctx context.Context, o options, address string, id identity) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(id.client())))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	c := workflowservice.NewWorkflowServiceClient(conn)
	for {
		got, err := c.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: o.namespace}, grpc.WaitForReady(true))
		if err == nil {
			if got.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() == o.retention {
				return nil
			}
			_, err = c.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
				Namespace: o.namespace,
				Config:    &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(o.retention)},
			})
			if err == nil {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return &problem{Code: "stalled", Op: "engine: wait for the namespace", Subject: address, Message: err.Error()}
		case <-time.After(50 * time.Millisecond):
		}
	}
}
