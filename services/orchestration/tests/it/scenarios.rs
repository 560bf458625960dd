//! Whole stacks on a cloud that fails: whatever happens on the way, the end is that of an undisturbed run.
//! `SEED=n` tries one seed; each is printed.
use super::{
    cloud::{Cloud, Faults},
    support::Service,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

const TWO: &str = include_str!("../../../../templates/two-servers.yaml");
const THREE: &str = include_str!("../../../../templates/three-servers.yaml");

/// A replaced server, a renamed network, a named port beside what the other template has.
fn changed() -> String {
    THREE
        .replace(
            "  network:\n    type: OS::Neutron::Net\n",
            "  network:\n    type: OS::Neutron::Net\n    properties: { name: renamed }\n",
        )
        .replace(
            "echo \"hello from $(hostname)\" > /www/index.html\n        httpd",
            "echo changed > /www/index.html\n        httpd",
        )
}

/// What stands after each step.
type Story = Vec<Vec<String>>;

/// Creates, updates twice, deletes; kills the service at changes that the cloud counts, chosen by `kills`.
fn tell(cloud: &Cloud, mut kills: Option<StdRng>) -> Story {
    let folder = tempfile::tempdir().unwrap();
    let mut service = Service::start(folder.path(), cloud);
    let empty = cloud.summary();
    let mut story = Vec::new();
    let mut path = String::new();
    let changed = changed();
    let steps: [(&str, &str, &str); 4] = [
        ("create", TWO, "CREATE_COMPLETE"),
        ("update", THREE, "UPDATE_COMPLETE"),
        ("update", &changed, "UPDATE_COMPLETE"),
        ("delete", "", "DELETE_COMPLETE"),
    ];
    for (step, template, goal) in steps {
        let mut deaths = 0;
        let mut arm = |cloud: &Cloud| {
            let mut table = cloud.table();
            table.kill_at = kills
                .as_mut()
                .map(|rng| table.changes + rng.random_range(1..12));
        };
        arm(cloud);
        match step {
            "create" => path = service.create("demo", template, Value::Null),
            "update" => service.update(&path, template, Value::Null),
            _ => service.delete(&path),
        }
        let stack = loop {
            match service.settled(&path) {
                Some(stack) => break stack,
                None => {
                    deaths += 1;
                    service.restart();
                    if deaths < 3 {
                        arm(cloud);
                    }
                }
            }
        };
        cloud.table().kill_at = None;
        assert_eq!(
            stack["stack_status"], goal,
            "{}",
            stack["stack_status_reason"]
        );
        println!("  {step}: {goal}, killed {deaths} times");
        story.push(cloud.summary());
    }
    assert_eq!(story.last(), Some(&empty), "something is left behind");
    assert_eq!(cloud.count("trusts"), 0);
    story
}

fn undisturbed() -> Story {
    tell(&Cloud::new(0, Faults::default()), None)
}

fn seeds() -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2],
    }
}

#[test]
fn a_cloud_that_fails_comes_to_the_same_end() {
    let plain = undisturbed();
    let faults = Faults {
        unavailable: 5,
        lost: 8,
        conflict: 5,
        gone: 10,
        slow: 10,
    };
    for seed in seeds() {
        println!("SEED={seed}");
        assert_eq!(tell(&Cloud::new(seed, faults), None), plain, "SEED={seed}");
    }
}

#[test]
fn killed_anywhere_it_goes_on_and_makes_nothing_twice() {
    let plain = undisturbed();
    for seed in seeds() {
        println!("SEED={seed}");
        let cloud = Cloud::new(seed, Faults::default());
        let kills = StdRng::seed_from_u64(seed);
        assert_eq!(tell(&cloud, Some(kills)), plain, "SEED={seed}");
    }
}

#[test]
fn a_rollback_gives_the_old_servers_their_ports_back() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::new(0, Faults::default());
    let service = Service::start(folder.path(), &cloud);
    let path = service.create("demo", TWO, Value::Null);
    service.reaches(&path, "CREATE_COMPLETE");
    let before = cloud.summary();
    let server = service.physical_id(&path, "server_2");
    // The server is replaced, what comes after it fails.
    let broken = changed().replace(
        "outputs:\n",
        "  broken:\n    type: OS::Heat::TestResource\n    depends_on: server_2\n    properties: { fail: true }\n\noutputs:\n",
    );
    let careful = serde_json::json!({"disable_rollback": false});
    service.update(&path, &broken, careful);
    let stack = service.reaches(&path, "ROLLBACK_COMPLETE");
    assert_eq!(service.physical_id(&path, "server_2"), server, "{stack}");
    assert_eq!(cloud.summary(), before);
}
