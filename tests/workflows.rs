//! The workflows, the hook and the owners of examples-repo, as they stand there: the files are read, and their shell steps run in a
//! git repository that holds examples-repo, with the variables that GitHub and GitLab document.
//!
//! What cannot run here is held to its place in the file instead: actions of others (checkout, the upload to code scanning, the
//! script that comments) by what they are given, which must be there when their turn comes; rules of GitLab by their text. Two
//! programs that need a network have stand-ins on the path: `curl` copies a `file:` URL, and `docker` runs the built program with
//! nothing but what it was told to pass on, and refuses to run where something that is needed is not mounted. The binary that is
//! fetched is a script that starts the built program. `pre-commit` itself does not run: its hook is started by git as
//! pre-commit would start it.

#![expect(clippy::expect_used, clippy::panic, reason = "what goes wrong here fails the test")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const CURL: &str = r#"#!/bin/sh
while [ $# -gt 1 ]; do
  case $1 in
    --output) out=$2; shift ;;
    --fail | --silent | --show-error | --location) ;;
    *) echo "curl: $1 is not known here" >&2; exit 2 ;;
  esac
  shift
done
exec cp "${1#file://}" "$out"
"#;

const DOCKER: &str = r#"#!/bin/bash
[ "$1 $2 $3 $4" = "run --rm --network none" ] || { echo "docker: $* is not known here" >&2; exit 2; }
shift 4
mounted=() passed=()
while [[ $1 == --* ]]; do
  case $1 in
    --user) [ "$2" = "$(id -u):$(id -g)" ] || exit 2 ;;
    --workdir) workdir=$2 ;;
    --volume) [ "${2%%:*}" = "${2#*:}" ] || exit 2; [ -e "${2%%:*}" ] || exit 2; mounted+=("${2%%:*}") ;;
    --env) passed+=("$2=${!2}") ;;
    *) echo "docker: $1 is not known here" >&2; exit 2 ;;
  esac
  shift 2
done
[ "$1" = registry.example/tenter@sha256:0f0f ] || { echo "docker: no image $1" >&2; exit 125; }
shift
for needed in "$workdir" "$GITHUB_STEP_SUMMARY"; do
  for place in "${mounted[@]}"; do case $needed/ in "$place"/*) continue 2 ;; esac; done
  echo "docker: $needed is not mounted" >&2; exit 125
done
cd "$workdir" && exec env -i "${passed[@]}" "$PROGRAM" "$@"
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(root().join(path)).expect("a file");
    serde_yaml::from_str(&text).expect("YAML")
}

/// What a change proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// Something that is not the definition.
    Words,
    /// A definition with an error.
    Error,
    /// One more peer.
    Peer,
    /// Policies with which nobody could change the channel any more.
    LockOut,
}

/// A checkout of a definition repository: examples-repo on `main`, and a change on the branch that is checked out.
struct Checkout {
    folder: tempfile::TempDir,
    base: String,
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}

fn program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a program");
}

impl Checkout {
    fn new(change: Change) -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder"), base: String::new() };
        copy(&root().join("examples-repo"), &this.work());
        let at = |name: &str| this.folder.path().join(name);
        std::fs::create_dir_all(at("home")).expect("a folder");
        program(&at("stand-ins/curl"), CURL);
        program(&at("stand-ins/docker"), DOCKER);
        program(&at("binary"), &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_tenter")));
        this.git(&["init", "--quiet", "--initial-branch=main"]);
        this.commit("Begin");
        let base = this.git(&["rev-parse", "HEAD"]).trim().to_owned();
        this.git(&["checkout", "--quiet", "-b", "change"]);
        this.edit(change);
        this.commit("Change");
        Self { base, ..this }
    }

    /// What GitHub checks out for a pull request: `main`, on which others have merged something meanwhile, with the change merged.
    fn merged(change: Change) -> Self {
        let this = Self::new(change);
        this.git(&["checkout", "--quiet", "main"]);
        let path = this.work().join("network.yaml");
        let text = std::fs::read_to_string(&path).expect("a file");
        let (from, to) = ("peers: [peer1, peer2]", "peers: [peer1, peer2, peer3]");
        assert!(text.contains(from), "there is a peer to add to");
        std::fs::write(path, text.replace(from, to)).expect("a file");
        this.commit("Change of others");
        this.git(&["checkout", "--quiet", "--detach", "main"]);
        this.git(&["merge", "--quiet", "--no-ff", "--message", "Merge the change", "change"]);
        this
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn edit(&self, change: Change) {
        let (file, from, to) = match change {
            Change::Words => ("README.md", "# A consortium definition", "# Our consortium"),
            Change::Error => ("network.yaml", "      peers: [peer1]", "      peerz: [peer1]"),
            Change::Peer => ("network.yaml", "      peers: [peer1]", "      peers: [peer1, peer2]"),
            Change::LockOut => (
                "network.yaml",
                "      members: [acme, globex]",
                "      members: [acme, globex]\n      policies: {application: {Admins: MAJORITY Endorsement}}",
            ),
        };
        let path = self.work().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.contains(from), "{file} has {from}");
        std::fs::write(path, text.replace(from, to)).expect("a file");
    }

    /// A command with nothing of the caller's environment but the path, with the stand-ins first.
    fn command(&self, program: &str, more_path: &[PathBuf]) -> Command {
        let mut command = Command::new(program);
        let stand_ins = [self.folder.path().join("stand-ins")];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = more_path.iter().cloned().chain(stand_ins).chain(std::env::split_paths(&path));
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::join_paths(path).expect("a path"))
            .env("HOME", self.folder.path().join("home"))
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    fn git_output(&self, arguments: &[&str], more_path: &[PathBuf]) -> Output {
        let who = ["-c", "user.name=Ann", "-c", "user.email=ann@acme.example", "-c", "commit.gpgsign=false"];
        self.command("git", more_path).args(who).args(arguments).output().expect("git runs")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = self.git_output(arguments, &[]);
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--no-verify", "--message", message]);
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.work().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// The SHA-256 of the binary, as `sha256sum` prints it.
    fn sum(&self) -> String {
        let output = Command::new("sha256sum").arg(self.folder.path().join("binary")).output().expect("sha256sum runs");
        String::from_utf8(output.stdout).expect("text").split(' ').next().unwrap_or_default().to_owned()
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.path().join("binary").display())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// GitHub's expressions, as far as the workflow has them: `&&`, `||`, `==`, `!=`, texts, `true`, paths, and `always()`.
mod expression {
    use serde_json::Value;

    /// A value; what is not there is null.
    fn operand(text: &str, context: &Value) -> Value {
        match text.trim() {
            "always()" | "true" => Value::Bool(true),
            text if text.starts_with('\'') => Value::String(text.trim_matches('\'').to_owned()),
            path => {
                let known = ["github.", "vars.", "env.", "steps."].iter().any(|known| path.starts_with(known));
                assert!(known, "an expression that the test does not know: {path}");
                context.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or(Value::Null)
            }
        }
    }

    fn is_true(value: &Value) -> bool {
        !matches!(value, Value::Null | Value::Bool(false)) && value != ""
    }

    /// Nothing and the empty text are the same to GitHub, which makes both the number zero.
    fn same(one: &Value, other: &Value) -> bool {
        one == other || (!is_true(one) && !is_true(other))
    }

    fn term(text: &str, context: &Value) -> Value {
        if let Some((left, right)) = text.split_once("==") {
            return Value::Bool(same(&operand(left, context), &operand(right, context)));
        }
        if let Some((left, right)) = text.split_once("!=") {
            return Value::Bool(!same(&operand(left, context), &operand(right, context)));
        }
        operand(text, context)
    }

    /// The last one where all are true, else the first that is not, as `&&` has it.
    fn every(text: &str, context: &Value) -> Value {
        let mut last = Value::Null;
        for part in text.split("&&") {
            last = term(part, context);
            if !is_true(&last) {
                break;
            }
        }
        last
    }

    /// The first that is true, as `||` has it.
    pub fn value(text: &str, context: &Value) -> Value {
        let mut last = Value::Null;
        for part in text.split("||") {
            last = every(part, context);
            if is_true(&last) {
                break;
            }
        }
        last
    }

    /// Whether a step runs: without a word on it, only while nothing has failed.
    pub fn holds(text: &str, context: &Value, failed: bool) -> bool {
        assert!(!text.contains("||"), "a condition that the test does not know: {text}");
        (text.contains("always()") || !failed) && text.split("&&").all(|part| is_true(&term(part, context)))
    }

    /// A text with expressions in it.
    pub fn filled(text: &str, context: &Value) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (inner, after) = after.split_once("}}").expect("an end");
            out.push_str(before);
            match value(inner, context) {
                Value::Null => {}
                Value::String(text) => out.push_str(&text),
                other => out.push_str(&other.to_string()),
            }
            rest = after;
        }
        out + rest
    }
}

/// What came of a workflow.
#[derive(Default)]
struct Told {
    /// Each step that was begun, in order, with its exit code; actions have none.
    steps: Vec<(String, Option<i32>)>,
    annotations: String,
    summary: String,
    errors: String,
    /// The comment, as the action was given it.
    comment: Option<String>,
    /// What code scanning was given.
    sarif: Option<Value>,
}

impl Told {
    fn code(&self, step: &str) -> Option<i32> {
        let found = self.steps.iter().find(|(name, _)| name == step);
        found.unwrap_or_else(|| panic!("{step} did not begin: {:?} {}", self.steps, self.errors)).1
    }

    fn began(&self, step: &str) -> bool {
        self.steps.iter().any(|(name, _)| name == step)
    }
}

/// Runs the job of the workflow for GitHub.
fn github(checkout: &Checkout, event_name: &str, event: &Value, vars: &Value) -> Told {
    let workflow = yaml("examples-repo/.github/workflows/tenter.yaml");
    let job = &workflow["jobs"]["review"];
    assert_eq!(job["runs-on"], "ubuntu-latest");
    assert_eq!(job["container"], Value::Null, "an image that has nothing but tenter cannot run steps");
    let mut context = json!({ "github": { "event_name": event_name, "event": event }, "vars": vars });
    let variables = |entries: &Value, context: &Value| -> BTreeMap<String, String> {
        let entries = entries.as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), expression::filled(value.as_str().expect("text"), context))).collect()
    };
    let of_job = variables(&job["env"], &context);
    context["env"] = json!(of_job);
    let temporary = checkout.folder.path().join("runner");
    std::fs::create_dir_all(&temporary).expect("a folder");
    let (mut told, mut failed, mut path) = (Told::default(), false, Vec::new());
    for step in job["steps"].as_array().expect("steps") {
        let name = step["name"].as_str().or(step["uses"].as_str()).expect("a name").to_owned();
        let id = step["id"].as_str().unwrap_or_default();
        if !expression::holds(step["if"].as_str().unwrap_or("true"), &context, failed) {
            context["steps"][id] = json!({ "outcome": "skipped" });
            continue;
        }
        let Some(run) = step["run"].as_str() else {
            action(checkout, step, &mut told);
            told.steps.push((name, None));
            continue;
        };
        let [script, summary, additions] = ["script", "summary", "path"].map(|name| temporary.join(name));
        std::fs::write(&script, expression::filled(run, &context)).expect("a script");
        std::fs::write(&summary, "").expect("a file");
        std::fs::write(&additions, "").expect("a file");
        // Without `shell` it is bash, which stops at the first command that fails.
        assert_eq!(step["shell"], Value::Null);
        let output = checkout
            .command("bash", &path)
            .arg("-e")
            .arg(&script)
            .envs([
                ("CI", "true"),
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_EVENT_NAME", event_name),
                ("RUNNER_OS", "Linux"),
            ])
            .env("GITHUB_WORKSPACE", checkout.work())
            .env("GITHUB_OUTPUT", temporary.join("output"))
            .env("GITHUB_STEP_SUMMARY", &summary)
            .env("GITHUB_PATH", &additions)
            .env("RUNNER_TEMP", &temporary)
            .env("PROGRAM", env!("CARGO_BIN_EXE_tenter"))
            .envs(&of_job)
            .envs(variables(&step["env"], &context))
            .output()
            .expect("bash runs");
        let additions = std::fs::read_to_string(&additions).expect("a file");
        path.splice(..0, additions.lines().map(PathBuf::from));
        let outcome = if output.status.success() { "success" } else { "failure" };
        context["steps"][id] = json!({ "outcome": outcome });
        failed |= !output.status.success() && step["continue-on-error"] != true;
        told.annotations.push_str(&text(&output.stdout));
        told.errors.push_str(&text(&output.stderr));
        told.summary.push_str(&std::fs::read_to_string(&summary).expect("a summary"));
        told.steps.push((name, output.status.code()));
    }
    told
}

/// What an action of others is given: it does not run here.
fn action(checkout: &Checkout, step: &Value, told: &mut Told) {
    let (uses, with) = (step["uses"].as_str().expect("an action"), &step["with"]);
    match uses.split_once('@').expect("a version").0 {
        "actions/checkout" => {
            assert_eq!(with["fetch-depth"], 0, "the base is in the clone only with the whole history");
        }
        "github/codeql-action/upload-sarif" => {
            assert_eq!(step["continue-on-error"], true, "not every repository has code scanning");
            let file = with["sarif_file"].as_str().expect("a file");
            told.sarif = Some(serde_json::from_str(&checkout.read(file)).expect("SARIF is JSON"));
        }
        "actions/github-script" => {
            let script = with["script"].as_str().expect("a script");
            let file =
                script.split_once("readFileSync('").and_then(|(_, rest)| rest.split_once('\'')).expect("a file").0;
            let body = checkout.read(file);
            let marker =
                script.split_once("startsWith('").and_then(|(_, rest)| rest.split_once('\'')).expect("a marker").0;
            assert!(body.starts_with(marker), "the next run finds this comment: {marker} {body:.80}");
            assert!(body.len() <= 65_536, "GitHub takes it: {} bytes", body.len());
            for call in ["github.paginate(github.rest.issues.listComments", "updateComment(", "createComment("] {
                assert!(script.contains(call), "{call}");
            }
            told.comment = Some(body);
        }
        other => panic!("{other} is an action that this test does not know"),
    }
}

fn pull_request(checkout: &Checkout) -> Value {
    json!({ "pull_request": { "base": { "sha": checkout.base }, "head": { "repo": { "fork": false } } } })
}

fn binary(checkout: &Checkout) -> Value {
    json!({ "TENTER_URL": checkout.url(), "TENTER_SHA256": checkout.sum() })
}

/// A pull request, with tenter from a binary and from an image.
fn reviewed(change: Change) -> [Told; 2] {
    let image = json!({ "TENTER_IMAGE": "registry.example/tenter@sha256:0f0f" });
    let told = |image: Option<&Value>| {
        let checkout = Checkout::merged(change);
        let vars = image.cloned().unwrap_or_else(|| binary(&checkout));
        github(&checkout, "pull_request", &pull_request(&checkout), &vars)
    };
    let told = [told(None), told(Some(&image))];
    assert!(told[0].began("Tenter as a binary") && !told[0].began("Tenter from its image"));
    assert!(told[1].began("Tenter from its image") && !told[1].began("Tenter as a binary"));
    told
}

fn results(told: &Told) -> usize {
    let sarif = told.sarif.as_ref().expect("code scanning is told");
    assert_eq!(sarif["version"], "2.1.0");
    sarif["runs"][0]["results"].as_array().expect("results").len()
}

#[test]
fn github_tells_that_nothing_would_change() {
    for told in reviewed(Change::Words) {
        assert_eq!((told.code("Validate"), told.code("Plan")), (Some(0), Some(0)), "{}", told.errors);
        assert_eq!(results(&told), 0);
        let comment = told.comment.as_ref().expect("a comment");
        assert!(comment.starts_with("<!-- tenter:plan:trade -->") && comment.contains("Nothing to do"), "{comment}");
        assert!(told.summary.contains("Nothing to do"), "{}", told.summary);
        let problems = told.annotations.lines().filter(|line| !line.starts_with("::notice "));
        assert_eq!(problems.collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn github_tells_of_findings_and_stops() {
    for told in reviewed(Change::Error) {
        assert_eq!(told.code("Validate"), Some(4), "{}", told.errors);
        assert!(!told.began("Plan"), "{:?}", told.steps);
        let annotation = "::error file=network.yaml,line=15,";
        assert!(
            told.annotations.contains(annotation) && told.annotations.contains("did you mean"),
            "{}",
            told.annotations
        );
        assert_eq!(results(&told), 1);
        let comment = told.comment.as_ref().expect("a comment");
        assert!(comment.starts_with("<!-- tenter:validate:") && comment.contains("peerz"), "{comment}");
        assert!(told.summary.contains("peerz"), "{}", told.summary);
    }
}

#[test]
fn github_tells_what_would_change() {
    for told in reviewed(Change::Peer) {
        assert_eq!((told.code("Validate"), told.code("Plan")), (Some(0), Some(0)), "{}", told.errors);
        assert_eq!(results(&told), 0);
        for place in [told.comment.as_ref().expect("a comment"), &told.summary] {
            assert!(place.contains("create Peer trade-globex/peer2"), "{place}");
            assert!(!place.contains("trade-acme/peer3"), "what others have merged is not of this change: {place}");
        }
    }
}

#[test]
fn a_change_that_repairs_the_definition_gets_its_plan() {
    let checkout = Checkout::new(Change::Error);
    let broken = checkout.git(&["rev-parse", "HEAD"]).trim().to_owned();
    checkout.git(&["checkout", "--quiet", "main", "--", "network.yaml"]);
    checkout.commit("Repair");
    let told = github(&checkout, "push", &json!({ "before": broken }), &binary(&checkout));
    assert_eq!((told.code("Validate"), told.code("Plan")), (Some(0), Some(0)), "{}", told.errors);
    assert!(told.annotations.contains("title=plan/BaseInvalid::"), "{}", told.annotations);
    assert!(told.summary.contains("peerz"), "{}", told.summary);
}

#[test]
fn github_fails_where_a_step_is_refused() {
    for told in reviewed(Change::LockOut) {
        assert_eq!((told.code("Validate"), told.code("Plan")), (Some(0), Some(7)), "{}", told.errors);
        assert!(told.annotations.contains("::error file=network.yaml,line=17,"), "{}", told.annotations);
        let comment = told.comment.as_ref().expect("a comment");
        assert!(comment.contains("lock everybody out"), "{comment}");
    }
}

#[test]
fn github_takes_pushes_forks_and_no_other_binary() {
    // The first push: git knows no revision before it.
    let checkout = Checkout::new(Change::Words);
    let told = github(&checkout, "push", &json!({ "before": "0".repeat(40) }), &binary(&checkout));
    assert_eq!(told.code("Plan"), Some(0), "{}", told.errors);
    assert!(told.summary.contains("pin the genesis block of channel settlement"), "{}", told.summary);
    assert!(!told.began("Comment") && told.began("Code scanning"), "{:?}", told.steps);
    let checkout = Checkout::new(Change::Peer);
    let told = github(&checkout, "push", &json!({ "before": checkout.base }), &binary(&checkout));
    assert!(told.summary.contains("create Peer trade-globex/peer2"), "{}", told.summary);
    // A fork's token may neither comment nor upload.
    let mut event = pull_request(&checkout);
    event["pull_request"]["head"]["repo"]["fork"] = json!(true);
    let told = github(&checkout, "pull_request", &event, &binary(&checkout));
    assert_eq!(told.code("Plan"), Some(0), "{}", told.errors);
    assert!(!told.began("Comment") && !told.began("Code scanning"), "{:?}", told.steps);
    let vars = json!({ "TENTER_URL": checkout.url(), "TENTER_SHA256": "0".repeat(64) });
    let told = github(&checkout, "pull_request", &pull_request(&checkout), &vars);
    assert_eq!(told.code("Tenter as a binary"), Some(1), "{}", told.errors);
    for step in ["Validate", "Code scanning", "Plan", "Comment"] {
        assert!(!told.began(step), "{:?}", told.steps);
    }
}

/// Runs the job for GitLab with a shell, and what it says and ends with.
fn gitlab(checkout: &Checkout, shell: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let job = &yaml("examples-repo/.gitlab-ci.yml")["tenter"];
    let lines = ["before_script", "script"].into_iter().flat_map(|part| job[part].as_array().expect("a script"));
    let script = lines.map(|line| line.as_str().expect("a line")).collect::<Vec<_>>().join("\n");
    let of_job = job["variables"].as_object().expect("variables").iter();
    let of_job = of_job.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()));
    // The runner joins both scripts, and stops at the first command that fails.
    let output = checkout
        .command(shell[0], &[])
        .args(&shell[1..])
        .arg(script)
        .envs(of_job)
        .envs([
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_DEFAULT_BRANCH", "main"),
            ("TENTER_URL", checkout.url().as_str()),
        ])
        .envs([("TENTER_SHA256", checkout.sum()), ("CI_PROJECT_DIR", checkout.work().display().to_string())])
        .envs(variables.iter().copied())
        .output()
        .expect("a shell runs");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// A merge request's pipeline, in either shell that an image may have: what was said, and the artifacts.
fn merge_request(change: Change, code: i32) -> Vec<(String, Checkout)> {
    let shells = [&["bash", "-eo", "pipefail", "-c"][..], &["sh", "-e", "-c"]];
    let run = |shell: &[&str]| {
        let checkout = Checkout::new(change);
        let zeros = "0".repeat(40);
        let variables = [
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
            ("CI_MERGE_REQUEST_DIFF_BASE_SHA", checkout.base.as_str()),
            ("CI_COMMIT_BEFORE_SHA", zeros.as_str()),
        ];
        let (ended, said) = gitlab(&checkout, shell, &variables);
        assert_eq!(ended, Some(code), "{shell:?}: {said}");
        (said, checkout)
    };
    shells.map(run).into()
}

/// The Code Quality report, with what GitLab needs of each issue.
fn code_quality(checkout: &Checkout) -> Vec<Value> {
    let job = &yaml("examples-repo/.gitlab-ci.yml")["tenter"];
    assert_eq!(job["artifacts"]["when"], "always", "findings end the job, and are wanted then");
    let reports = &job["artifacts"]["reports"];
    let report = |kind: &str| checkout.read(reports[kind].as_str().expect("a file"));
    let issues: Vec<Value> = serde_json::from_str(&report("codequality")).expect("a list");
    for issue in &issues {
        for needed in
            ["/description", "/check_name", "/fingerprint", "/severity", "/location/path", "/location/lines/begin"]
        {
            assert!(issue.pointer(needed).is_some(), "{needed}: {issue}");
        }
    }
    let junit = report("junit");
    let junit = roxmltree::Document::parse(&junit).expect("XML");
    let failures = junit.descendants().filter(|node| node.has_tag_name("failure")).count();
    assert_eq!(failures, issues.len());
    issues
}

fn review(checkout: &Checkout) -> String {
    let job = &yaml("examples-repo/.gitlab-ci.yml")["tenter"];
    checkout.read(job["artifacts"]["paths"][0].as_str().expect("a file"))
}

#[test]
fn gitlab_tells_that_nothing_would_change() {
    for (said, checkout) in merge_request(Change::Words, 0) {
        assert!(said.contains("network.yaml is valid") && said.contains("Nothing to do"), "{said}");
        assert_eq!(code_quality(&checkout), [] as [Value; 0]);
        assert!(review(&checkout).contains("Nothing to do"));
    }
}

#[test]
fn gitlab_tells_of_findings_and_stops() {
    for (said, checkout) in merge_request(Change::Error, 4) {
        assert!(said.contains("did you mean `peers`?") && !said.contains("Plan for"), "{said}");
        let issues = code_quality(&checkout);
        assert_eq!((issues.len(), &issues[0]["location"]["path"]), (1, &json!("network.yaml")));
        assert!(review(&checkout).contains("peerz"));
    }
}

#[test]
fn gitlab_tells_what_would_change() {
    for (said, checkout) in merge_request(Change::Peer, 0) {
        assert!(said.contains("create Peer trade-globex/peer2"), "{said}");
        assert_eq!(code_quality(&checkout), [] as [Value; 0]);
        assert!(review(&checkout).contains("create Peer trade-globex/peer2"));
    }
}

#[test]
fn gitlab_fails_where_a_step_is_refused() {
    for (said, checkout) in merge_request(Change::LockOut, 7) {
        assert!(said.contains("lock everybody out"), "{said}");
        assert!(review(&checkout).contains("lock everybody out"));
    }
}

#[test]
fn gitlab_takes_branches_and_images_with_tenter_in_them() {
    let shell = ["bash", "-eo", "pipefail", "-c"];
    // The default branch, of which there is no merge request.
    let checkout = Checkout::new(Change::Peer);
    let (code, said) =
        gitlab(&checkout, &shell, &[("CI_COMMIT_BEFORE_SHA", checkout.base.as_str()), ("CI_COMMIT_BRANCH", "main")]);
    assert!(code == Some(0) && said.contains("create Peer trade-globex/peer2"), "{said}");
    let (code, said) = gitlab(&Checkout::new(Change::Peer), &shell, &[("TENTER_SHA256", "0".repeat(64).as_str())]);
    assert!(code == Some(1) && !said.contains("network.yaml is valid"), "another binary is not run: {said}");
    // An image that has it fetches nothing.
    let checkout = Checkout::new(Change::Words);
    std::fs::copy(checkout.folder.path().join("binary"), checkout.folder.path().join("stand-ins/tenter"))
        .expect("a copy");
    let (code, said) = gitlab(
        &checkout,
        &shell,
        &[("TENTER_URL", "file:///nowhere"), ("CI_COMMIT_BEFORE_SHA", checkout.base.as_str())],
    );
    assert_eq!(code, Some(0), "{said}");
    let job = &yaml("examples-repo/.gitlab-ci.yml")["tenter"];
    assert_eq!(job["variables"]["GIT_DEPTH"], "0", "the base is in the clone only with the whole history");
    assert_eq!(job["image"], json!({ "name": "$TENTER_IMAGE", "entrypoint": [""] }), "a shell is started, not tenter");
    let rules = json!([
        { "if": "$CI_PIPELINE_SOURCE == \"merge_request_event\"" },
        { "if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH" },
    ]);
    assert_eq!(job["rules"], rules);
}

/// As pre-commit starts it: where a staged file's path has the pattern, without names, in the root of the repository.
#[test]
fn the_hook_keeps_an_invalid_definition_from_being_committed() {
    let hook = yaml("examples-repo/.pre-commit-config.yaml")["repos"][0]["hooks"][0].clone();
    let shared = yaml(".pre-commit-hooks.yaml")[0].clone();
    for key in ["id", "name", "entry", "language", "files", "pass_filenames"] {
        assert_eq!(hook[key], shared[key], "who takes the hook from here gets the same: {key}");
    }
    assert_eq!((&hook["language"], &hook["pass_filenames"]), (&json!("system"), &json!(false)));
    let checkout = Checkout::new(Change::Words);
    let script = format!(
        "#!/bin/bash\ngit diff --cached --name-only | grep -qE '{}' || exit 0\necho the hook runs >&2\nexec {}\n",
        hook["files"].as_str().expect("a pattern"),
        hook["entry"].as_str().expect("a command")
    );
    program(&checkout.work().join(".git/hooks/pre-commit"), &script);
    program(
        &checkout.folder.path().join("bin/tenter"),
        &std::fs::read_to_string(checkout.folder.path().join("binary")).expect("text"),
    );
    let commit = |file: &str| {
        checkout.git(&["add", file]);
        let path = [checkout.folder.path().join("bin")];
        let output = checkout.git_output(&["commit", "--quiet", "--message", "Change"], &path);
        (output.status.success(), text(&output.stdout) + &text(&output.stderr))
    };
    checkout.edit(Change::Peer);
    let (done, said) = commit("network.yaml");
    assert!(done && said.contains("the hook runs"), "{said}");
    std::fs::write(checkout.work().join("NOTES.md"), "notes").expect("a file");
    let (done, said) = commit("NOTES.md");
    assert!(done && !said.contains("the hook runs"), "{said}");
    let broken = checkout.read("network.yaml").replace("peers: [peer1, peer2]", "peerz: [peer1]");
    std::fs::write(checkout.work().join("network.yaml"), broken).expect("a file");
    let (done, said) = commit("network.yaml");
    assert!(!done && said.contains("did you mean `peers`?"), "{said}");
    // What a definition is held against counts too.
    checkout.git(&["checkout", "--quiet", "HEAD", "--", "network.yaml"]);
    std::fs::create_dir_all(checkout.work().join("approvals/0f0f")).expect("a folder");
    std::fs::write(checkout.work().join("approvals/0f0f/acme.yaml"), "an approval of nothing").expect("a file");
    let (done, said) = commit("approvals");
    assert!(!done && said.contains("repository/approval-shape"), "{said}");
}

#[test]
fn every_organization_owns_its_folder_and_editors_find_the_schema() {
    let owners = std::fs::read_to_string(root().join("examples-repo/CODEOWNERS")).expect("CODEOWNERS");
    let network = yaml("examples-repo/network.yaml");
    let organizations = network["spec"]["organizations"].as_array().expect("organizations");
    assert!(!organizations.is_empty());
    for organization in organizations {
        let name = organization["name"].as_str().expect("a name");
        let owner: Vec<&str> = owners
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("/organizations/{name}/"))?.split_whitespace().last())
            .collect();
        assert_eq!(owner, [format!("@example/{name}")], "the folder of {name} is its own");
    }
    let text = std::fs::read_to_string(root().join("examples-repo/network.yaml")).expect("the definition");
    let modeline = text.lines().next().and_then(|line| line.strip_prefix("# yaml-language-server: $schema="));
    let modeline = modeline.expect("a modeline");
    assert!(!modeline.contains(".."), "it is still there in a copy of the folder: {modeline}");
    // A copy, so that whoever copies the folder has it.
    let [copy, schema] =
        [format!("examples-repo/{modeline}"), "schemas/network.schema.json".to_owned()].map(|path| root().join(path));
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::copy(&schema, &copy).expect("a copy");
    }
    let [copy, schema] = [copy, schema].map(|path| std::fs::read_to_string(path).expect("the schema"));
    assert!(copy == schema, "{modeline} is not the schema; UPDATE_SCHEMAS=1 writes it");
}
