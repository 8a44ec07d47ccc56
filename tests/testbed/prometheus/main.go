// Command testbed-prometheus reads what this project gives Prometheus with Prometheus's own code.
//
//	testbed-prometheus metrics FILE...      each FILE is OpenMetrics and Prometheus's older text; prints its samples, one a line
//	testbed-prometheus rules FILE           the alert rules are well-formed
//	testbed-prometheus alerts RULES FILE    which alerts the samples of FILE raise at once, whatever time `for` asks for
//	testbed-prometheus queries QUERIES FILE each line of QUERIES is PromQL; prints how many series it gives on FILE's samples
//
// Exit code 1 with the reason on stderr when something is not what it should be.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

type sample struct {
	labels labels.Labels
	value  float64
}

// read parses a file with Prometheus's own parser and refuses what a scrape would refuse: the same series twice.
func read(path string) ([]sample, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// A Pushgateway and the node exporter read with this one.
	older := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := older.TextToMetricFamilies(bytes.NewReader(content)); err != nil {
		return nil, fmt.Errorf("%s, as Prometheus's older text: %w", path, err)
	}
	p := textparse.NewOpenMetricsParser(content, labels.NewSymbolTable())
	var samples []sample
	seen := map[string]bool{}
	typed := map[string]bool{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return samples, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		switch entry {
		case textparse.EntryType:
			name, _ := p.Type()
			if typed[string(name)] {
				return nil, fmt.Errorf("%s: the family %s begins twice", path, name)
			}
			typed[string(name)] = true
		case textparse.EntrySeries:
			_, _, value := p.Series()
			var l labels.Labels
			p.Labels(&l)
			if seen[l.String()] {
				return nil, fmt.Errorf("%s: %s is there twice", path, l)
			}
			seen[l.String()] = true
			samples = append(samples, sample{l, value})
		}
	}
}

type point struct {
	t int64
	v float64
}

func (p point) ST() int64                     { return 0 }
func (p point) T() int64                      { return p.t }
func (p point) F() float64                    { return p.v }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }

// shelf is what a scrape at one time left behind.
type shelf struct {
	samples []sample
	at      int64
}

func (s shelf) Querier(_, _ int64) (storage.Querier, error) { return s, nil }
func (shelf) Close() error                                  { return nil }
func (shelf) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}
func (shelf) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (s shelf) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, one := range s.samples {
		fits := true
		for _, matcher := range matchers {
			fits = fits && matcher.Matches(one.labels.Get(matcher.Name))
		}
		if fits {
			found = append(found, storage.NewListSeries(one.labels, []chunks.Sample{point{t: s.at, v: one.value}}))
		}
	}
	sort.Slice(found, func(i, j int) bool { return labels.Compare(found[i].Labels(), found[j].Labels()) < 0 })
	return &set{series: found, now: -1}
}

type set struct {
	series []storage.Series
	now    int
}

func (s *set) Next() bool                      { s.now++; return s.now < len(s.series) }
func (s *set) At() storage.Series              { return s.series[s.now] }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }

func query(samples []sample, text string) (promql.Vector, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: slog.New(slog.DiscardHandler), MaxSamples: 1_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
	now := time.Now()
	q, err := engine.NewInstantQuery(context.Background(), shelf{samples, now.UnixMilli()}, nil, text, now)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	if result.Err != nil {
		return nil, fmt.Errorf("%s: %w", text, result.Err)
	}
	return result.Vector()
}

func rules(path string) (*rulefmt.RuleGroups, error) {
	groups, errs := rulefmt.ParseFile(path, false, model.LegacyValidation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	return groups, errors.Join(errs...)
}

func run(args []string) error {
	switch {
	case len(args) > 1 && args[0] == "metrics":
		for _, path := range args[1:] {
			samples, err := read(path)
			if err != nil {
				return err
			}
			for _, one := range samples {
				fmt.Printf("%s %v\n", one.labels, one.value)
			}
		}
		return nil
	case len(args) == 2 && args[0] == "rules":
		groups, err := rules(args[1])
		if err != nil {
			return err
		}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				fmt.Println(rule.Alert)
			}
		}
		return nil
	case len(args) == 3 && args[0] == "alerts":
		groups, err := rules(args[1])
		if err != nil {
			return err
		}
		samples, err := read(args[2])
		if err != nil {
			return err
		}
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				vector, err := query(samples, rule.Expr)
				if err != nil {
					return err
				}
				for _, one := range vector {
					fmt.Printf("%s %s\n", rule.Alert, one.Metric)
				}
			}
		}
		return nil
	case len(args) == 3 && args[0] == "queries":
		queries, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		samples, err := read(args[2])
		if err != nil {
			return err
		}
		for _, text := range strings.Split(strings.TrimSpace(string(queries)), "\n") {
			vector, err := query(samples, text)
			if err != nil {
				return err
			}
			fmt.Printf("%d %s\n", len(vector), text)
		}
		return nil
	}
	return errors.New("usage: metrics FILE... | rules FILE | alerts RULES FILE | queries QUERIES FILE")
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testbed-prometheus:", err)
		os.Exit(1)
	}
}
