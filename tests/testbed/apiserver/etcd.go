package main

import (
	"errors"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// startEtcd runs one etcd member on loopback, on free ports, and returns the URL for clients.
func startEtcd(dir string) (string, func(), error) {
	anyPort := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.ListenClientUrls = []url.URL{anyPort}
	cfg.ListenPeerUrls = []url.URL{anyPort}
	cfg.AdvertiseClientUrls = []url.URL{anyPort}
	cfg.AdvertisePeerUrls = []url.URL{anyPort}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogLevel = "error"
	// The data never outlive the process, so nobody waits for the disk.
	cfg.UnsafeNoFsync = true

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", nil, err
	}
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		server.Close()
		return "", nil, err
	case <-time.After(readyTimeout):
		server.Close()
		return "", nil, errors.New("not ready in time")
	}
	// Close waits for open watches, which the API server may still hold: cut it off rather than wait.
	stop := func() {
		done := make(chan struct{})
		go func() { server.Close(); close(done) }()
		select {
		case <-done:
		case <-time.After(stopTimeout):
		}
	}
	return "http://" + server.Clients[0].Addr().String(), stop, nil
}
