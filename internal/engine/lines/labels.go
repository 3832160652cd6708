package lines

import (
	"context"
	"log/slog"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/fail"
	"drctl/internal/logs"
)

// Interceptor puts the run, and what the input names (the shard), on every line
// that an activity or a workflow logs, and logs why an attempt has failed.
type Interceptor struct {
	interceptor.WorkerInterceptorBase
	Log    *slog.Logger // gets the failures of attempts
	Labels func(in any) []slog.Attr
	Coded  Coded
}

// InterceptActivity is called once for each attempt.
func (i *Interceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &labelledActivity{interceptor.ActivityInboundInterceptorBase{Next: next}, i}
}

// InterceptWorkflow is called once for each run that a worker takes up.
func (i *Interceptor) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	return &labelledWorkflow{WorkflowInboundInterceptorBase: interceptor.WorkflowInboundInterceptorBase{Next: next}, by: i}
}

// of collects what the inputs of an activity or a workflow say.
func (i *Interceptor) of(args []any) (out []slog.Attr) {
	for _, a := range args {
		out = append(out, i.Labels(a)...)
	}

	return out
}

type labelledActivity struct {
	interceptor.ActivityInboundInterceptorBase
	by *Interceptor
}

// ExecuteActivity runs the activity.
func (a *labelledActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	info := activity.GetInfo(ctx)
	ctx = logs.With(ctx, slog.String(logs.Workflow, info.WorkflowExecution.ID), slog.String(logs.Run, info.WorkflowExecution.RunID),
		slog.String(logs.Activity, info.ActivityType.Name), slog.Int(logs.Attempt, int(info.Attempt)))
	ctx = logs.With(ctx, a.by.of(in.Args)...)

	out, err := a.Next.ExecuteActivity(ctx, in)
	a.by.tell(ctx, err, info)

	return out, err
}

// tell logs why an attempt has failed: as an error when no other follows, else as
// a warning, at attempts 1, 2, 4, 8 and so on, as one that is repeated for hours
// says nothing new.
func (i *Interceptor) tell(ctx context.Context, err error, info activity.Info) {
	c, coded := i.Coded(err)
	if !coded { // none, or the engine's own, which the SDK tells
		return
	}

	n := int(info.Attempt)

	level, msg := slog.LevelWarn, "an attempt failed"
	switch {
	case c.Canceled:
		level, msg = slog.LevelInfo, "a step was cancelled"
	case !fail.Retryable(c.Err), info.RetryPolicy != nil && info.RetryPolicy.MaximumAttempts > 0 && n >= int(info.RetryPolicy.MaximumAttempts):
		level, msg = slog.LevelError, "a step failed"
	case n&(n-1) != 0:
		level = slog.LevelDebug
	}

	i.Log.LogAttrs(ctx, level, msg, slog.String(logs.Err, c.Err.Error()), slog.String(logs.Code, string(fail.CodeOf(c.Err))))
}

type labelledWorkflow struct {
	interceptor.WorkflowInboundInterceptorBase
	by  *Interceptor
	out *labelledOutbound
}

// Init puts the logger between the workflow and the SDK.
func (w *labelledWorkflow) Init(next interceptor.WorkflowOutboundInterceptor) error {
	w.out = &labelledOutbound{WorkflowOutboundInterceptorBase: interceptor.WorkflowOutboundInterceptorBase{Next: next}}

	return w.Next.Init(w.out)
}

// ExecuteWorkflow runs the workflow.
func (w *labelledWorkflow) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	for _, a := range w.by.of(in.Args) {
		w.out.labels = append(w.out.labels, a.Key, a.Value.Any())
	}

	return w.Next.ExecuteWorkflow(ctx, in)
}

type labelledOutbound struct {
	interceptor.WorkflowOutboundInterceptorBase
	labels []any // keys and values in turn
}

// GetLogger is the workflow's logger, which is silent in a replay.
func (w *labelledOutbound) GetLogger(ctx workflow.Context) sdklog.Logger {
	return sdklog.With(w.Next.GetLogger(ctx), w.labels...)
}
