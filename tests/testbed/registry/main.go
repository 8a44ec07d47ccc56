// testbed-registry is an OCI registry, and beside it a chart repository as plain files, on loopback and on a free port.
//
//	testbed-registry CHARTS
//
//	stdout  {"address": "127.0.0.1:PORT"}   it listens: oci://ADDRESS/..., and the folder CHARTS under http://ADDRESS/charts/
//
// Whoever started it holds the other end of its stdin: when that is closed, it ends.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: testbed-registry CHARTS")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "testbed-registry:", err)
		os.Exit(1)
	}
}

func run(charts string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// What Helm 3 takes for a plugin's archive, while application/octet-stream, as releases are served, it does not.
	if err := mime.AddExtensionType(".tgz", "application/gzip"); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", registry.New(registry.Logger(log.New(os.Stderr, "", 0))))
	mux.Handle("/charts/", http.StripPrefix("/charts/", http.FileServer(http.Dir(charts))))
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"address": listener.Addr().String()}); err != nil {
		return err
	}
	return http.Serve(listener, mux)
}
