package logs

// The keys that mean the same in every line of every process. Code that may not
// import this package writes them as plain strings; a test compares.
const (
	Child    = "child"
	Region   = "region"
	Group    = "group"
	Shard    = "shard"
	Instance = "instance"
	Vault    = "vault"
	Workflow = "workflow"
	Run      = "run"
	Activity = "activity"
	Attempt  = "attempt"
	Queue    = "queue"
	Cut      = "cut"
	Base     = "base"
	Subject  = "subject"
	Code     = "code"
	Err      = "err"
	Hint     = "hint"
)

// Key is a row of the table.
type Key struct {
	Name    string
	Meaning string
}

// Keys returns the table, as the manual shows it. Other keys say details of one
// message; they are words in lower case, joined by underscores.
func Keys() []Key {
	return []Key{
		{Child, "the process under `drctl up` that said it: `engine`, `worker-east`; without it `drctl up` itself did"},
		{Region, "the region of the worker"},
		{Group, "a group of targets"},
		{Shard, "a shard: `orders/0`"},
		{Instance, "a server of a shard: `orders/0@east (127.0.0.1:5432)`"},
		{Vault, "a vault, by its region"},
		{Workflow, "the id of the workflow, which stays when it is started again: `shop:archive/orders/0`"},
		{Run, "the id of one run of it, as `drctl runs` shows it"},
		{Activity, "the step of the run"},
		{Attempt, "which attempt at it this is, from 1"},
		{Queue, "a task queue"},
		{Cut, "the id of a cut"},
		{Base, "the id of a base"},
		{Subject, "what a problem is about: the same words as in `drctl status`"},
		{Code, "the kind of an error or of a problem, which stays the same when its words change"},
		{Err, "what went wrong, on what, why, and what to do next"},
		{Hint, "what to do next, where `err` does not say it"},
	}
}

// foreign names the keys of Temporal's client and server that mean something of
// the table, or something else than they seem to.
var foreign = map[string]string{
	"Error": Err, "error": Err,
	"WorkflowID": Workflow, "wf-id": Workflow,
	"RunID": Run, "wf-run-id": Run, "run-id": Run,
	"ActivityType": Activity, "LocalActivityType": Activity,
	"Attempt":   Attempt,
	"TaskQueue": Queue, "wf-task-queue-name": Queue,
	"Namespace": "namespace", "wf-namespace": "namespace",
	"shard-id": "history_shard", // the server's own shards hold workflows
}

// OurKey is the key that drctl's lines have for a key of Temporal's client or
// server: that of the table, or the same words in lower case.
func OurKey(key string) string {
	if k, ok := foreign[key]; ok {
		return k
	}

	return words(key)
}

// words joins the words of "TaskQueue", "task-queue" or "Task queue" as
// "task_queue".
func words(key string) string {
	out := make([]rune, 0, len(key)+4)
	low := false // the last letter was a small one or a digit

	for _, r := range key {
		switch {
		case r >= 'A' && r <= 'Z':
			if low {
				out = append(out, '_')
			}
			out, low = append(out, r-'A'+'a'), false
		case r == '-' || r == ' ':
			out, low = append(out, '_'), false
		default:
			out, low = append(out, r), r != '_'
		}
	}

	return string(out)
}
