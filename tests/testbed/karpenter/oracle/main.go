// Command nodepool-oracle says what Karpenter's own code makes of NodePools, for the differential test.
//
// It reads one NodePool a line, as JSON, and writes one JSON answer a line. From the module of Karpenter's AWS provider come the
// CRD with its CEL rules, judged by the code with which API servers judge it, the runtime validation, the requirements that a
// pool's claims start from, and the requirements of an instance type; from Karpenter's scheduler the two conditions that it
// filters instance types by. Written out here is what its functions for that need a whole controller for: one offering of each
// capacity type in each zone, after pkg/providers/instancetype/offering/base_resolver.go and reserved_capacity_resolver.go.
//
// `nodepool-oracle crds` prints the CRDs instead.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awsapis "github.com/aws/karpenter-provider-aws/pkg/apis"
	awsv1 "github.com/aws/karpenter-provider-aws/pkg/apis/v1"
	awsoptions "github.com/aws/karpenter-provider-aws/pkg/operator/options"
	"github.com/aws/karpenter-provider-aws/pkg/providers/instancetype"
	"github.com/awslabs/operatorpkg/object"
	"github.com/samber/lo"
	"go.uber.org/multierr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	provisioning "sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	"sigs.k8s.io/karpenter/pkg/scheduling"
)

type answer struct {
	// Why an API server refuses it; the rest is empty then.
	Refused []string `json:"refused"`
	// Why Karpenter makes it not ready.
	Invalid []string `json:"invalid"`
	// The capacity types that its requirements admit by themselves.
	CapacityTypes []string `json:"capacity_types"`
	// The capacity types of the offerings that it can launch, with the instance types.
	Launches map[string][]string `json:"launches"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "crds" {
		for _, crd := range [][]byte{awsapis.EC2NodeClassCRD, awsapis.NodePoolCRD, awsapis.NodeClaimCRD, awsapis.NodeOverlayCRD} {
			fmt.Printf("---\n%s\n", bytes.TrimPrefix(crd, []byte("---\n")))
		}
		return
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "nodepool-oracle:", err)
		os.Exit(1)
	}
}

func serve(from io.Reader, to io.Writer) error {
	crd, err := newCRD(awsapis.NodePoolCRD)
	if err != nil {
		return err
	}
	known := instanceTypes()
	in := bufio.NewReaderSize(from, 1<<20)
	out := bufio.NewWriterSize(to, 1<<20)
	defer out.Flush()
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 1 {
			a, err := judge(crd, known, line)
			if err != nil {
				return fmt.Errorf("%w: %s", err, line)
			}
			reply, err := json.Marshal(a)
			if err != nil {
				return err
			}
			out.Write(reply)
			out.WriteByte('\n')
			// The asker may wait for this answer before it sends more.
			if in.Buffered() == 0 {
				out.Flush()
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func judge(crd *crd, known cloudprovider.InstanceTypes, line []byte) (a answer, err error) {
	a = answer{Refused: []string{}, Invalid: []string{}, CapacityTypes: []string{}, Launches: map[string][]string{}}
	var stored map[string]any
	// As API servers decode: whole numbers are integers.
	if err := utiljson.Unmarshal(line, &stored); err != nil {
		return a, err
	}
	a.Refused = crd.admit(stored)
	if len(a.Refused) > 0 {
		return a, nil
	}
	var pool karpv1.NodePool
	defaulted, err := json.Marshal(stored)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(defaulted, &pool); err != nil {
		return a, err
	}
	for _, wrong := range multierr.Errors(pool.RuntimeValidate(context.Background())) {
		a.Invalid = append(a.Invalid, wrong.Error())
	}
	if len(a.Invalid) > 0 {
		return a, nil
	}
	requirements := provisioning.NewNodeClaimTemplate(&pool).Requirements
	for _, capacity := range []string{karpv1.CapacityTypeOnDemand, karpv1.CapacityTypeReserved, karpv1.CapacityTypeSpot} {
		if requirements.Get(karpv1.CapacityTypeLabelKey).Has(capacity) {
			a.CapacityTypes = append(a.CapacityTypes, capacity)
		}
	}
	// The conditions of filterInstanceTypesByRequirements (pkg/controllers/provisioning/scheduling/nodeclaim.go).
	for _, it := range known {
		if it.Requirements.Intersects(requirements) != nil {
			continue
		}
		for _, offering := range it.Offerings.Available().Compatible(requirements) {
			kind := offering.CapacityType()
			if !slices.Contains(a.Launches[kind], it.Name) {
				a.Launches[kind] = append(a.Launches[kind], it.Name)
			}
		}
	}
	// minValues over what can be launched, as the scheduler judges it with the strict policy.
	if requirements.HasMinValues() {
		names := lo.Uniq(lo.Flatten(lo.Values(a.Launches)))
		left := lo.Filter(known, func(it *cloudprovider.InstanceType, _ int) bool { return slices.Contains(names, it.Name) })
		if _, _, err := cloudprovider.InstanceTypes(left).SatisfiesMinValues(requirements); err != nil {
			a.Launches = map[string][]string{}
		}
	}
	return a, nil
}

// crd is what an API server makes of a CustomResourceDefinition's one version.
type crd struct {
	structural *schema.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

func newCRD(text []byte) (*crd, error) {
	definition := object.Unmarshal[apiextensionsv1.CustomResourceDefinition](text)
	var properties apiextensions.JSONSchemaProps
	from := definition.Spec.Versions[0].Schema.OpenAPIV3Schema
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(from, &properties, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(&properties)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(&properties)
	if err != nil {
		return nil, err
	}
	return &crd{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}, nil
}

// admit applies the defaults and says why an API server refuses the object; its metadata is left alone.
func (c *crd) admit(stored map[string]any) []string {
	defaulting.PruneNonNullableNullsWithoutDefaults(stored, c.structural)
	defaulting.Default(stored, c.structural)
	wrong := validation.ValidateCustomResource(nil, stored, c.validator)
	wrong = append(wrong, listtype.ValidateListSetsAndMaps(nil, c.structural, stored)...)
	if len(wrong) == 0 {
		broken, _ := c.rules.Validate(context.Background(), nil, c.structural, stored, nil, celconfig.RuntimeCELCostBudget)
		wrong = append(wrong, broken...)
	}
	said := []string{}
	for _, one := range wrong {
		said = append(said, one.Error())
	}
	return said
}

const region = "eu-west-1"

var zones = []awsv1.ZoneInfo{{Zone: "eu-west-1a", ZoneID: "euw1-az1"}, {Zone: "eu-west-1b", ZoneID: "euw1-az2"}}

// instanceTypes are one of each kind that makes a difference; hpc7g.4xlarge has no Spot. A reservation exists for m5.large.
func instanceTypes() cloudprovider.InstanceTypes {
	ctx := awsoptions.ToContext(options.ToContext(context.Background(), &options.Options{}), &awsoptions.Options{})
	var known cloudprovider.InstanceTypes
	for _, kind := range []struct {
		name, architecture, manufacturer string
		cpus                             int32
		memory                           int64
		usage                            []ec2types.UsageClassType
		gpu                              bool
	}{
		{"m5.large", "x86_64", "Intel", 2, 8192, []ec2types.UsageClassType{"on-demand", "spot"}, false},
		{"c5.2xlarge", "x86_64", "Intel", 8, 16384, []ec2types.UsageClassType{"on-demand", "spot"}, false},
		{"m6g.xlarge", "arm64", "AWS", 4, 16384, []ec2types.UsageClassType{"on-demand", "spot"}, false},
		{"g4dn.xlarge", "x86_64", "Intel", 4, 16384, []ec2types.UsageClassType{"on-demand", "spot"}, true},
		{"hpc7g.4xlarge", "arm64", "AWS", 16, 131072, []ec2types.UsageClassType{"on-demand"}, false},
	} {
		info := ec2types.InstanceTypeInfo{
			InstanceType:          ec2types.InstanceType(kind.name),
			SupportedUsageClasses: kind.usage,
			Hypervisor:            ec2types.InstanceTypeHypervisorNitro,
			VCpuInfo:              &ec2types.VCpuInfo{DefaultVCpus: &kind.cpus},
			MemoryInfo:            &ec2types.MemoryInfo{SizeInMiB: &kind.memory},
			ProcessorInfo: &ec2types.ProcessorInfo{
				SupportedArchitectures:   []ec2types.ArchitectureType{ec2types.ArchitectureType(kind.architecture)},
				Manufacturer:             &kind.manufacturer,
				SustainedClockSpeedInGhz: lo.ToPtr(3.1),
			},
			NetworkInfo: &ec2types.NetworkInfo{
				EncryptionInTransitSupported: lo.ToPtr(true),
				DefaultNetworkCardIndex:      lo.ToPtr[int32](0),
				MaximumNetworkInterfaces:     lo.ToPtr[int32](3),
				Ipv4AddressesPerInterface:    lo.ToPtr[int32](10),
				NetworkCards: []ec2types.NetworkCardInfo{{
					NetworkCardIndex:         lo.ToPtr[int32](0),
					MaximumNetworkInterfaces: lo.ToPtr[int32](3),
				}},
			},
		}
		if kind.gpu {
			info.GpuInfo = &ec2types.GpuInfo{Gpus: []ec2types.GpuDeviceInfo{{
				Name: lo.ToPtr("T4"), Manufacturer: lo.ToPtr("NVIDIA"), Count: lo.ToPtr[int32](1),
				MemoryInfo: &ec2types.GpuDeviceMemoryInfo{SizeInMiB: lo.ToPtr[int32](16384)},
			}}}
		}
		var reservations []awsv1.CapacityReservation
		if kind.name == "m5.large" {
			reservations = []awsv1.CapacityReservation{{ID: "cr-0123456789abcdef0", ReservationType: "default"}}
		}
		names := lo.Map(zones, func(zone awsv1.ZoneInfo, _ int) string { return zone.Zone })
		it := instancetype.NewInstanceType(ctx, info, region, names, zones, nil, nil, nil, nil, nil, nil, nil, nil, nil,
			awsv1.AMIFamilyAL2023, reservations)
		for _, zone := range zones {
			for _, capacity := range it.Requirements.Get(karpv1.CapacityTypeLabelKey).Values() {
				it.Offerings = append(it.Offerings, offering(capacity, zone, reservations))
			}
		}
		known = append(known, it)
	}
	return known
}

func offering(capacity string, zone awsv1.ZoneInfo, reservations []awsv1.CapacityReservation) *cloudprovider.Offering {
	in := func(key string, values ...string) *scheduling.Requirement {
		return scheduling.NewRequirement(key, corev1.NodeSelectorOpIn, values...)
	}
	no := func(key string) *scheduling.Requirement {
		return scheduling.NewRequirement(key, corev1.NodeSelectorOpDoesNotExist)
	}
	of := scheduling.NewRequirements(
		in(karpv1.CapacityTypeLabelKey, capacity),
		in(corev1.LabelTopologyZone, zone.Zone),
		in(awsv1.LabelTopologyZoneID, zone.ZoneID),
	)
	if capacity == karpv1.CapacityTypeReserved {
		of.Add(
			in(cloudprovider.ReservationIDLabel, reservations[0].ID),
			in(awsv1.LabelCapacityReservationType, string(reservations[0].ReservationType)),
			in(awsv1.LabelCapacityReservationInterruptible, fmt.Sprint(reservations[0].Interruptible)),
		)
	} else {
		of.Add(
			no(cloudprovider.ReservationIDLabel),
			no(awsv1.LabelCapacityReservationType),
			no(awsv1.LabelCapacityReservationInterruptible),
		)
	}
	return &cloudprovider.Offering{Requirements: of, Price: 1, Available: true}
}
