//! A kubelet for tests: it runs the container of each Pod as a local process of the program under test, with the Pod's arguments,
//! environment and files, and reports what becomes of it. What it knows of Pods is what a Job of this project needs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::program::BINARY;
use super::testbed::{ApiServer, User, output, succeed};

/// The kubelet of one namespace.
pub struct Kubelet<'a> {
    server: &'a ApiServer,
    namespace: String,
    /// What the node adds to every container: the AWS that is there.
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
    pods: BTreeMap<String, Run>,
}

/// A Pod that was started.
struct Run {
    child: Child,
    log: PathBuf,
    container: String,
    reported: bool,
}

impl<'a> Kubelet<'a> {
    /// For the Pods of this namespace.
    pub fn new(server: &'a ApiServer, namespace: &str, environment: Vec<(String, String)>) -> Self {
        Self {
            server,
            namespace: namespace.to_owned(),
            environment,
            folder: tempfile::tempdir().expect("a folder"),
            pods: BTreeMap::new(),
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = self.server.kubectl(User::Admin);
        command.args(["-n", &self.namespace]).args(arguments);
        succeed(output(command))
    }

    fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"])).expect("JSON")
    }

    /// Starts what is to be started and reports what has ended.
    pub fn work(&mut self) {
        let list = self.get("pods");
        for pod in list["items"].as_array().expect("items") {
            let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            let ended =
                ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or_default());
            if !ended && !self.pods.contains_key(&name) {
                let run = self.start(&name, pod);
                let running = json!({"phase": "Running", "startTime": pod["metadata"]["creationTimestamp"]});
                self.report(&name, &running);
                self.pods.insert(name, run);
            }
        }
        let mut ended = Vec::new();
        for (name, run) in &mut self.pods {
            if run.reported {
                continue;
            }
            let Some(status) = run.child.try_wait().expect("a child of ours") else {
                continue;
            };
            run.reported = true;
            // Killed by a signal, as the container runtime puts it.
            let code = status.code().unwrap_or(137);
            ended.push((name.clone(), run.container.clone(), code));
        }
        for (name, container, code) in ended {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let terminated =
                json!({"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }});
            let status = json!({
                "phase": phase,
                "containerStatuses": [{
                    "name": container, "image": "local", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": terminated},
                }],
            });
            self.report(&name, &status);
        }
    }

    fn report(&self, pod: &str, status: &Value) {
        let patch = json!({"status": status}).to_string();
        let mut command = self.server.kubectl(User::Admin);
        command.args([
            "-n",
            &self.namespace,
            "patch",
            "pod",
            pod,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ]);
        let out = output(command);
        let said = String::from_utf8_lossy(&out.stderr);
        // Deleted in between.
        assert!(out.status.success() || said.contains("NotFound"), "{said}");
    }

    fn start(&self, name: &str, pod: &Value) -> Run {
        let spec = &pod["spec"];
        let container = &spec["containers"][0];
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = match variable
                .pointer("/valueFrom/fieldRef/fieldPath")
                .and_then(Value::as_str)
            {
                Some(path) => annotation(pod, path),
                None => variable["value"].as_str().unwrap_or_default().to_owned(),
            };
            environment.insert(variable["name"].as_str().expect("a name").to_owned(), value);
        }
        let mounts: Vec<(String, String)> = container["volumeMounts"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|mount| {
                let volumes = spec["volumes"].as_array().expect("volumes");
                let volume = volumes
                    .iter()
                    .find(|volume| volume["name"] == mount["name"])
                    .expect("the volume");
                let map = volume["configMap"]["name"].as_str().expect("a ConfigMap");
                let place = folder.join(map);
                fs::create_dir(&place).expect("a folder");
                for (file, text) in self.get(&format!("configmap/{map}"))["data"]
                    .as_object()
                    .expect("data")
                {
                    fs::write(place.join(file), text.as_str().expect("text")).expect("a file");
                }
                let path = mount["mountPath"].as_str().expect("a path").to_owned();
                (path, place.display().to_string())
            })
            .collect();
        let arguments: Vec<String> = container["args"]
            .as_array()
            .expect("arguments")
            .iter()
            .map(|argument| {
                let mut argument = argument.as_str().expect("text").to_owned();
                for (name, value) in &environment {
                    argument = argument.replace(&format!("$({name})"), value);
                }
                // Nothing is mounted here: the files are elsewhere.
                for (path, place) in &mounts {
                    argument = argument.replace(path, place);
                }
                argument
            })
            .collect();
        let log = folder.join("log");
        let file = File::create(&log).expect("a file");
        let mut command = Command::new(BINARY);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(&environment)
            .env("HOME", &folder)
            .current_dir(&folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file);
        if spec["automountServiceAccountToken"] != false {
            let account = spec["serviceAccountName"].as_str().expect("a service account");
            command.env("KUBECONFIG", self.kubeconfig(account, &folder));
        }
        Run {
            child: command.spawn().expect("the program starts"),
            log,
            container: container["name"].as_str().expect("a name").to_owned(),
            reported: false,
        }
    }

    /// What the mounted token of the service account is worth, as a kubeconfig: the folder of a real one is the machine's.
    fn kubeconfig(&self, account: &str, folder: &std::path::Path) -> PathBuf {
        let token = self.kubectl(&["create", "token", account]);
        let mut config: Value =
            serde_json::from_str(&self.server.kubeconfig("in-cluster", token.trim())).expect("JSON");
        config["contexts"][0]["context"]["namespace"] = json!(self.namespace);
        let path = folder.join("kubeconfig");
        fs::write(&path, config.to_string()).expect("a file");
        path
    }

    /// The log of every Pod that was started, in the order of their names.
    pub fn logs(&self) -> BTreeMap<String, String> {
        let read = |run: &Run| fs::read_to_string(&run.log).expect("a log");
        self.pods
            .iter()
            .map(|(name, run)| (name.clone(), read(run)))
            .collect()
    }

    /// Kills the process of a Pod, as the kernel does when memory is short.
    pub fn kill(&mut self, pod: &str) {
        let run = self.pods.get_mut(pod).expect("a Pod that was started");
        run.child.kill().expect("a child of ours");
    }
}

impl Drop for Kubelet<'_> {
    fn drop(&mut self) {
        for run in self.pods.values_mut() {
            let _ = run.child.kill();
            let _ = run.child.wait();
        }
    }
}

/// `metadata.annotations['NAME']`
fn annotation(pod: &Value, path: &str) -> String {
    let name = path.split('\'').nth(1).unwrap_or_else(|| panic!("{path}"));
    let value = &pod["metadata"]["annotations"][name];
    value.as_str().unwrap_or_else(|| panic!("{path}")).to_owned()
}
