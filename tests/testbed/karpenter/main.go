// Command testbed-karpenter runs Karpenter's controller, unmodified, for the end-to-end tests.
//
//	testbed-karpenter --controller PROGRAM --log FILE [--reach HOST:PORT]...
//
// The controller serves its metrics and health on every interface, and no setting changes that. So it runs in a network
// namespace of its own, which has nothing but a loopback. The addresses that it may reach (the API server's and moto's, on
// loopback outside) are listened on inside as well, and what connects there is passed on through Unix sockets, which network
// namespaces don't divide. Where no namespace may be made, the controller runs without one, on free ports.
//
// Everything else is the controller's own environment: KUBECONFIG, AWS_..., CLUSTER_NAME and so on. What it logs goes to FILE.
// Once it says that it is ready, one line of JSON goes to stdout: {"isolated": BOOL}. It ends when stdin is closed.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A start takes some seconds; on a crowded machine ten times that.
const readyTimeout = 180 * time.Second

type settings struct {
	controller string
	log        string
	reach      []string
	// The directory of the Unix sockets. Set: this process is the one inside.
	sockets string
}

func main() {
	// Children are told to die with the thread that started them, so that has to be one that lives as long as the process.
	runtime.LockOSThread()
	var s settings
	flag.StringVar(&s.controller, "controller", "", "the program of Karpenter's controller")
	flag.StringVar(&s.log, "log", "", "where its log goes")
	flag.StringVar(&s.sockets, "sockets", "", "for this program's own use")
	flag.Func("reach", "an address on loopback that the controller may reach; may be repeated", func(address string) error {
		s.reach = append(s.reach, address)
		return nil
	})
	flag.Parse()
	err := run(s)
	if errors.Is(err, errNoLoopback) {
		os.Exit(noLoopback)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed-karpenter:", err)
		os.Exit(1)
	}
}

// Some systems let everyone make a network namespace and then let nobody configure it.
var errNoLoopback = errors.New("the namespace's loopback can't be brought up")

const noLoopback = 3

func run(s settings) error {
	if s.sockets != "" {
		return inside(s)
	}
	dir, err := os.MkdirTemp("", "karpenter-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, address := range s.reach {
		if err := pass("unix", socket(dir, address), "tcp", address); err != nil {
			return err
		}
	}
	child := exec.Command("/proc/self/exe", append(os.Args[1:], "--sockets", dir)...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = startIsolated(child)
	if err == nil {
		err = child.Wait()
		if child.ProcessState.ExitCode() != noLoopback {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "testbed-karpenter: no network namespace, so the controller's metrics are on every interface:", err)
	return control(s, false)
}

func inside(s settings) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("%w: %w", errNoLoopback, err)
	}
	for _, address := range s.reach {
		if err := pass("tcp", address, "unix", socket(s.sockets, address)); err != nil {
			return err
		}
	}
	return control(s, true)
}

func socket(dir, address string) string {
	return filepath.Join(dir, strings.ReplaceAll(address, ":", "-"))
}

// pass listens on one address and connects to the other for everyone who comes.
func pass(network, address, toNetwork, toAddress string) error {
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				to, err := net.Dial(toNetwork, toAddress)
				if err != nil {
					return
				}
				defer to.Close()
				done := make(chan struct{}, 2)
				go func() { _, _ = io.Copy(to, from); done <- struct{}{} }()
				go func() { _, _ = io.Copy(from, to); done <- struct{}{} }()
				<-done
			}()
		}
	}()
	return nil
}

// control runs the controller until stdin is closed.
func control(s settings, isolated bool) error {
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	metrics, health := 8080, 8081
	if !isolated {
		if metrics, err = freePort(); err != nil {
			return err
		}
		if health, err = freePort(); err != nil {
			return err
		}
	}
	controller := exec.Command(s.controller)
	controller.Env = append(os.Environ(), "METRICS_PORT="+strconv.Itoa(metrics), "HEALTH_PROBE_PORT="+strconv.Itoa(health))
	controller.Stdout, controller.Stderr = log, log
	dieWithParent(controller)
	if err := controller.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- controller.Wait() }()
	told := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(told) }()
	ready := make(chan error, 1)
	go func() { ready <- waitUntilReady(fmt.Sprintf("http://127.0.0.1:%d/readyz", health)) }()
	for {
		select {
		case <-told:
			_ = controller.Process.Kill()
			<-ended
			return nil
		case err := <-ended:
			return fmt.Errorf("the controller ended by itself: %v; its log: %s", err, s.log)
		case err := <-ready:
			if err != nil {
				_ = controller.Process.Kill()
				return err
			}
			if err := json.NewEncoder(os.Stdout).Encode(map[string]bool{"isolated": isolated}); err != nil {
				return err
			}
		}
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func waitUntilReady(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return nil
		}
	}
	return errors.New("the controller did not become ready")
}
