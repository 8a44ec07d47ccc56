// Command testbed-authenticator runs the real aws-iam-authenticator server as a test's API server would use it, together with the
// STS that it asks.
//
// The authenticator calls the URL that a token holds, https://sts.REGION.amazonaws.com/, and nothing else. Two environment
// variables of its own process lead that call to loopback, and nothing of the machine is changed: HTTPS_PROXY names a proxy
// in this program, SSL_CERT_FILE the CA that this program made. The proxy plays STS for every host of that name and refuses
// every other: it checks the signature with the AWS SDK's own signer against the keys in --identities, and answers whose they are.
//
// How a test talks to it, in this order:
//
//	stdout  {"webhookConfig": "FILE"}          for the API server's token webhook
//	stdin   the path of a kubeconfig           by which the authenticator reads aws-auth; it has to be there already
//	stdout  {"awsAuth": 1}                     the authenticator listens and has read aws-auth; again, with the next number, after
//	                                           each change of it
//
// It ends when stdin is closed or on SIGTERM or SIGINT, and the authenticator with it.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const stopTimeout = 2 * time.Second

func main() {
	// The authenticator is to die with this process, and the kernel ties that to the thread that started it.
	runtime.LockOSThread()
	program := flag.String("authenticator", "", "path of aws-iam-authenticator")
	cluster := flag.String("cluster-id", "", "the cluster's name, as tokens sign it")
	identities := flag.String("identities", "", "JSON file: a list of {accessKeyId, secretAccessKey, sessionToken, arn, account, userId}")
	flag.Parse()
	if *program == "" || *cluster == "" || *identities == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*program, *cluster, *identities); err != nil {
		fmt.Fprintln(os.Stderr, "testbed-authenticator:", err)
		os.Exit(1)
	}
}

func run(program, cluster, identitiesFile string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	dir, err := os.MkdirTemp("", "testbed-authenticator-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	identities, err := readIdentities(identitiesFile)
	if err != nil {
		return err
	}
	proxy, err := startSTS(identities, filepath.Join(dir, "sts-ca.pem"))
	if err != nil {
		return err
	}

	// `init` makes the certificate that the server takes when it finds it in its state directory.
	prepare := exec.CommandContext(ctx, program, "init", "--cluster-id", cluster)
	prepare.Dir = dir
	if out, err := prepare.CombinedOutput(); err != nil {
		return fmt.Errorf("aws-iam-authenticator init: %w: %s", err, out)
	}
	// The API server wants to know the address before the authenticator can start, for that one wants to know the API
	// server's. So the address is this program's, and what comes is passed on.
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	webhookConfig := filepath.Join(dir, "webhook.kubeconfig")
	if err := writeWebhookConfig(webhookConfig, filepath.Join(dir, "cert.pem"), relay.Addr().String()); err != nil {
		return err
	}
	if err := say(map[string]any{"webhookConfig": webhookConfig}); err != nil {
		return err
	}

	stdin := bufio.NewReader(os.Stdin)
	kubeconfig, err := stdin.ReadString('\n')
	if err != nil {
		return nil // closed before it began: nobody wants it any more
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin)
		stop()
	}()

	server := exec.Command(program, "server",
		"--cluster-id", cluster, "--address", "127.0.0.1", "--port", "0", "--state-dir", dir, "--kubeconfig-pregenerated",
		"--backend-mode", "EKSConfigMap", "--kubeconfig", strings.TrimSpace(kubeconfig))
	server.Env = []string{
		"HOME=" + dir,
		"HTTPS_PROXY=http://" + proxy,
		"SSL_CERT_FILE=" + filepath.Join(dir, "sts-ca.pem"),
		"AWS_EC2_METADATA_DISABLED=true",
	}
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := server.StderrPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	followed := make(chan error, 1)
	go func() { followed <- follow(log, relay) }()

	select {
	case <-ctx.Done():
	case err := <-followed:
		return errors.Join(errors.New("aws-iam-authenticator ended by itself"), err, server.Wait())
	}
	_ = server.Process.Signal(syscall.SIGTERM)
	select {
	case <-followed:
	case <-time.After(stopTimeout):
		_ = server.Process.Kill()
	}
	_ = server.Wait()
	return nil
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// follow copies the authenticator's log to stderr, learns from it where it listens, and says when it has read aws-auth.
func follow(log io.Reader, relay net.Listener) error {
	seen := 0
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(os.Stderr, line)
		if found := listening.FindStringSubmatch(line); found != nil {
			go passOn(relay, found[1])
		}
		if strings.Contains(line, "Received aws-auth watch event") {
			seen++
			if err := say(map[string]any{"awsAuth": seen}); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func passOn(relay net.Listener, address string) {
	for {
		from, err := relay.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			to, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer to.Close()
			go func() {
				_, _ = io.Copy(to, from)
				to.Close()
			}()
			_, _ = io.Copy(from, to)
		}()
	}
}

func say(message map[string]any) error {
	return json.NewEncoder(os.Stdout).Encode(message)
}

// writeWebhookConfig writes the kubeconfig by which an API server finds its token webhook. JSON is YAML.
func writeWebhookConfig(path, caFile, address string) error {
	type object = map[string]any
	text, err := json.Marshal(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": "webhook",
		"clusters": []object{{"name": "authenticator", "cluster": object{
			"server": "https://" + address + "/authenticate", "certificate-authority": caFile,
		}}},
		"users":    []object{{"name": "apiserver", "user": object{}}},
		"contexts": []object{{"name": "webhook", "context": object{"cluster": "authenticator", "user": "apiserver"}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
