//! Container images: out of Debian's own registry by the mirror, onto the Pi's server, and out of that by skopeo.

use std::{fs, net::TcpStream, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use pilotlight_fetch::{Cache, Client, Digest, Show};
use pilotlight_mirror::{Lock, LockedFile, Mirror, Sources, Update};
use pilotlight_tests::{
    process::{must, run},
    surroundings,
};

use crate::stage::Stage;

const LIMIT: Duration = Duration::from_secs(60);
const REGISTRY: &str = "127.0.0.1:5000";

/// An image as a folder in OCI's layout: a list of two processors, of which one is made up.
struct Layout {
    list: Digest,
    image: Digest,
    layer: Digest,
    /// Of the image that nobody asks for.
    other: Digest,
}

impl Layout {
    fn write(folder: &Path) -> Result<Self> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let put = |content: &[u8]| -> Result<(Digest, usize)> {
            let digest = Digest::of(content);
            fs::write(blobs.join(digest.to_string()), content)?;
            Ok((digest, content.len()))
        };
        let layer = put(&b"no archive, as far as a registry knows".repeat(9000))?;
        let mut images = Vec::new();
        for architecture in ["amd64", "riscv64"] {
            let config = put(
                format!(
                    r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
                    layer.0
                )
                .as_bytes(),
            )?;
            let manifest = put(
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:{}","size":{}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:{}","size":{}}}]}}"#,
                    config.0, config.1, layer.0, layer.1
                )
                .as_bytes(),
            )?;
            images.push((architecture, manifest));
        }
        let entry = |(architecture, (digest, size)): &(&str, (Digest, usize))| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{size},"platform":{{"architecture":"{architecture}","os":"linux"}}}}"#
            )
        };
        let entries: Vec<String> = images.iter().map(entry).collect();
        let index = |entries: &str| {
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{entries}]}}"#
            )
        };
        let list = put(index(&entries.join(",")).as_bytes())?;
        let top = format!(
            r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:{}","size":{}}}"#,
            list.0, list.1
        );
        fs::write(folder.join("index.json"), index(&top))?;
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let [(_, (image, _)), (_, (other, _))] = images[..] else { bail!("there are two") };
        Ok(Self { list: list.0, image, layer: layer.0, other })
    }
}

pub(crate) fn by_skopeo() -> Result<()> {
    let stage = Stage::set(&lab(""))?;
    stage.cable.fixed_client_address()?;
    let layout = Layout::write(&stage.subfolder("layout")?)?;
    stage.cable.ip("link set lo up")?;
    let mut registry = start_registry(&stage)?;
    let skopeo = |words: &[&str]| -> Result<Command> {
        let mut skopeo = stage.client("skopeo")?;
        skopeo.args(["--insecure-policy", "--tmpdir"]).arg(stage.subfolder("tmp")?).args(words);
        skopeo.current_dir(stage.folder()).env("HOME", stage.folder());
        Ok(skopeo)
    };
    let upstream = format!("docker://{REGISTRY}/lab/pause:3.10");
    // What is pushed as it is keeps its digest; skopeo would write a list anew.
    let push = ["copy", "--all", "--preserve-digests", "--dest-tls-verify=false", "oci:layout", &upstream];
    must(&mut skopeo(&push)?, LIMIT)?;

    let text = lab(&format!("images = [\"{REGISTRY}/lab/pause:3.10@sha256:{}\"]\n", layout.list));
    let lab = pilotlight_lab::parse(&text).ok().context("the lab is none")?;
    let (cache, sources) = (Cache::at(stage.path("cache"))?, Sources::own()?);
    let mirror = Mirror {
        cache: &cache,
        sources: &sources,
        client: Client::default(),
        show: Show::Nothing,
        now: 0,
        room: None,
    };
    let lock = mirror.lock(&lab, &Lock::default(), &Update::Changed)?;
    ensure!(Lock::parse(&lock.text())? == lock, "the lock is read otherwise than it was written");
    ensure!(mirror.lock(&lab, &lock, &Update::Changed)? == lock, "what is locked is looked for anew");
    // The lock alone brings the same.
    let again = Cache::at(stage.path("again"))?;
    Mirror { cache: &again, client: Client::default(), ..mirror }.fetch(&lock)?;
    for file in lock.all().values() {
        ensure!(Digest::of_file(&again.object(&file.sha256))? == file.sha256, "{} is another one", file.path);
    }
    // And a Pi with a way out brings it onto its card by itself: a manifest has two places there.
    let (_httpd, root) = stage.httpd()?;
    let said = refresh(&stage, &text, &root)?;
    ensure!(said.contains("pause:3.10") && said.contains("refreshed"), "{said}");
    registry.kill()?;
    registry.wait()?;
    let placed = |(path, file): (String, &LockedFile)| Ok(Digest::of_file(&root.join(path))? == file.sha256);
    ensure!(lock.all().into_iter().map(placed).collect::<Result<Vec<_>>>()?.into_iter().all(|it| it));
    for (number, reference) in
        ["pause:3.10".to_owned(), format!("pause@sha256:{}", layout.list)].iter().enumerate()
    {
        let (from, to) = (format!("docker://10.77.0.1/lab/{reference}"), format!("dir:got{number}"));
        must(&mut skopeo(&["copy", "--src-tls-verify=false", &from, &to])?, LIMIT)?;
        let got = |name: &str| fs::read(stage.path(&format!("got{number}")).join(name));
        ensure!(Digest::of(got("manifest.json")?) == layout.image, "{reference}: another manifest came");
        ensure!(
            Digest::of(got(&layout.layer.to_string())?) == layout.layer,
            "{reference}: another layer came"
        );
    }
    let raw = ["inspect", "--raw", "--tls-verify=false", "docker://10.77.0.1/lab/pause:3.10"];
    let listed = must(&mut skopeo(&raw)?, LIMIT)?.text;
    ensure!(Digest::of(&listed) == layout.list, "the list is another one: {listed}");
    for reference in [format!("@sha256:{}", layout.other), ":3.11".to_owned()] {
        let from = format!("docker://10.77.0.1/lab/pause{reference}");
        let outcome = run(&mut skopeo(&["inspect", "--raw", "--tls-verify=false", &from])?, LIMIT)?;
        ensure!(!outcome.status.success(), "there is {reference}: {}", outcome.text);
    }
    let curl = |path: &str| -> Result<String> {
        let mut curl = stage.client("curl")?;
        curl.args(["--silent", "--head", "--path-as-is"]).arg(format!("http://10.77.0.1{path}"));
        Ok(must(&mut curl, LIMIT)?.text)
    };
    let head = curl("/v2/lab/pause/manifests/3.10")?;
    ensure!(head.contains("200") && head.contains("application/vnd.oci.image.index.v1+json"), "{head}");
    ensure!(curl("/v2/")?.contains("200"), "it is no registry");
    for path in ["/v2/lab/../pause/manifests/3.10", "/v2/lab/%2e%2e/blobs/sha256:00", "/v2//blobs/sha256:ab"]
    {
        ensure!(curl(path)?.starts_with("HTTP/1.1 4"), "{path} is answered");
    }
    Ok(())
}

/// What the Pi's own service says of bringing this lab's mirror.
fn refresh(stage: &Stage, lab: &str, root: &Path) -> Result<String> {
    let (lab_path, clock) = (stage.path("with-images.toml"), stage.path("clock"));
    fs::write(&lab_path, lab)?;
    fs::write(&clock, "1800000000 operator\n")?;
    let mut refresh = Command::new(surroundings::daemon("pilotlight-refresh")?);
    refresh.arg("--lab").arg(lab_path).arg("--assets").arg(root).arg("--clock-set").arg(clock);
    refresh.args(["--reserve", "1", "--events"]).arg(stage.path("events.sock"));
    Ok(must(&mut refresh, LIMIT)?.text)
}

fn lab(mirror: &str) -> String {
    format!(
        "[network]\naddress = \"10.77.0.1/24\"\nupstream = [\"10.77.0.254\"]\nprobe-first = false\n[profiles.ram]\nkind = \"debian-ram\"\n\
         [[nodes]]\nname = \"one\"\nmac = \"52:54:00:00:00:11\"\naddress = \"10.77.0.50\"\nprofile = \"ram\"\n[mirror]\n{mirror}"
    )
}

/// Debian's registry, in this namespace, with nothing in it.
fn start_registry(stage: &Stage) -> Result<std::process::Child> {
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {REGISTRY}\nlog:\n  level: error\n",
        stage.subfolder("registry")?.display()
    );
    fs::write(stage.path("registry.yml"), config)?;
    let mut command = stage.client("docker-registry")?;
    command
        .arg("serve")
        .arg(stage.path("registry.yml"))
        .stdout(fs::File::create(stage.path("registry.log"))?);
    command.stderr(fs::File::create(stage.path("registry.err"))?);
    pilotlight_tests::process::end_with_this_thread(&mut command);
    let child = command.spawn().context("could not start the registry")?;
    for _ in 0..200 {
        if TcpStream::connect(REGISTRY).is_ok() {
            return Ok(child);
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("the registry does not answer: {}", fs::read_to_string(stage.path("registry.err"))?)
}
