package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/job"
)

// As kube-controller-manager runs them by default, but for the garbage collector's twenty workers.
const workers = 5

// How often the garbage collector looks for new kinds: kube-controller-manager's own.
const discoveryPeriod = 30 * time.Second

// runJobControllers runs the controllers of Jobs and CronJobs and the garbage collector, each as kube-controller-manager makes
// it, until ctx ends.
func (c *cluster) runJobControllers(ctx context.Context) error {
	config := c.restConfig()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	metadataClient, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	typed := informers.NewSharedInformerFactory(client, 0)
	untyped := metadatainformer.NewSharedInformerFactory(metadataClient, 0)
	started := make(chan struct{})

	batch := typed.Batch().V1()
	jobs, err := job.NewController(ctx, client, typed.Core().V1().Pods(), batch.Jobs(), nil, nil)
	if err != nil {
		return fmt.Errorf("the controller of Jobs: %w", err)
	}
	cronJobs, err := cronjob.NewControllerV2(ctx, batch.Jobs(), batch.CronJobs(), client)
	if err != nil {
		return fmt.Errorf("the controller of CronJobs: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	collector, err := garbagecollector.NewGarbageCollector(
		ctx, client, metadataClient, mapper, garbagecollector.DefaultIgnoredResources(),
		informerfactory.NewInformerFactory(typed, untyped), started,
	)
	if err != nil {
		return fmt.Errorf("the garbage collector: %w", err)
	}
	go jobs.Run(ctx, workers)
	go cronJobs.Run(ctx, workers)
	go collector.Run(ctx, workers, discoveryPeriod)
	go collector.Sync(ctx, client.Discovery(), discoveryPeriod)
	typed.Start(ctx.Done())
	untyped.Start(ctx.Done())
	close(started)
	return nil
}
