// Command testbed-apiserver runs a real kube-apiserver on a real, embedded etcd for the end-to-end tests.
//
// Everything listens on loopback, on ports the kernel picks, and everything written lies in one temporary directory that
// is removed at the end. The program ends on SIGTERM, on SIGINT, and when its stdin is closed: the test that started it
// holds the other end of that pipe, so the server dies with the test however the test dies.
//
// Once the server is ready, one line of JSON on stdout says where it is (the type ready); nothing else goes there.
//
// Beside the API server one controller runs, the one that fills aggregated ClusterRoles: without it `view`, `edit` and
// `admin` would be empty. With -jobs those of Jobs and CronJobs and the garbage collector run, too. There is no scheduler and no
// kubelet.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// How long the servers get to become ready. A first start takes some seconds on two busy cores.
const readyTimeout = 120 * time.Second

// How long the servers get to say goodbye. What they wrote is thrown away, so nothing is lost when they are cut off.
const stopTimeout = 2 * time.Second

// ready is what a test reads from stdout: where the server is and who may talk to it.
type ready struct {
	URL     string `json:"url"`
	CAFile  string `json:"caFile"`
	CA      string `json:"ca"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Tokens by user name: admin (group system:masters), viewer (ClusterRole view, and may read aws-auth), nobody.
	Tokens     map[string]string `json:"tokens"`
	Kubeconfig string            `json:"kubeconfig"`
	AuditLog   string            `json:"auditLog"`
	// Milliseconds from the start of the process until /readyz was ok and the roles were filled.
	StartedInMs int64 `json:"startedInMs"`
}

type settings struct {
	kubeconfig   string
	auditLog     string
	tokenWebhook string
	hosts        []string
	jobs         bool
	ignoreStdin  bool
	verbosity    int
}

func parseSettings() (settings, error) {
	var s settings
	var hosts string
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "also write a kubeconfig with the contexts admin, viewer and nobody")
	flag.StringVar(&s.auditLog, "audit-log", "", "audit log, one JSON event a line, Metadata level (default: in the temporary directory)")
	flag.StringVar(&s.tokenWebhook, "token-webhook", "", "kubeconfig of a token authentication webhook, asked besides the static tokens")
	flag.StringVar(&hosts, "hosts", "", "further host names and addresses for the server's certificate, separated by commas")
	flag.BoolVar(&s.jobs, "jobs", false, "run the controllers of Jobs and CronJobs and the garbage collector")
	flag.BoolVar(&s.ignoreStdin, "ignore-stdin", false, "go on when stdin is closed; for use by hand")
	flag.IntVar(&s.verbosity, "v", 0, "klog verbosity of the API server")
	flag.Parse()
	if flag.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if hosts != "" {
		s.hosts = strings.Split(hosts, ",")
	}
	return s, nil
}

func main() {
	start := time.Now()
	s, err := parseSettings()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed-apiserver:", err)
		os.Exit(2)
	}
	if err := run(s, start); err != nil {
		fmt.Fprintln(os.Stderr, "testbed-apiserver:", err)
		os.Exit(1)
	}
}

func run(s settings, start time.Time) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if !s.ignoreStdin {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}

	dir, err := os.MkdirTemp("", "testbed-apiserver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	etcdURL, stopEtcd, err := startEtcd(filepath.Join(dir, "etcd"))
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer stopEtcd()

	cluster, err := prepareCluster(dir, etcdURL, s)
	if err != nil {
		return err
	}
	serverCtx, cancelServer := context.WithCancel(context.Background())
	defer cancelServer()
	ended := make(chan error, 1)
	go func() { ended <- cluster.serve(serverCtx) }()

	readyCtx, cancelReady := context.WithTimeout(ctx, readyTimeout)
	defer cancelReady()
	becameReady := make(chan error, 1)
	go func() { becameReady <- cluster.waitUntilReady(readyCtx) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return fmt.Errorf("the API server ended before it was ready: %w", err)
	case err := <-becameReady:
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the API server did not become ready within %s: %w", readyTimeout, err)
		}
	}

	if s.jobs {
		if err := cluster.runJobControllers(serverCtx); err != nil {
			return err
		}
	}
	facts := cluster.facts
	facts.StartedInMs = time.Since(start).Milliseconds()
	if s.kubeconfig != "" {
		facts.Kubeconfig = s.kubeconfig
		if err := cluster.writeKubeconfig(s.kubeconfig); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(facts); err != nil {
		return err
	}

	select {
	case <-ctx.Done():
	case err := <-ended:
		return fmt.Errorf("the API server ended by itself: %w", err)
	}
	cancelServer()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
	}
	return nil
}
