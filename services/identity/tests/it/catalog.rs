//! Regions, services and endpoints: found by what they are, and refused where they make no sense.

use super::world::World;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use service_kit::testing::databases;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogues_parts_are_found_by_what_they_are() {
    databases::each(async |db| {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(&db, folder.path()).await;
        let found = async |kind: &str, query: &str| -> usize {
            let path = format!("/v3/{kind}?{query}");
            let (status, body) = world.admin(Method::GET, &path, Value::Null).await;
            assert_eq!(status, StatusCode::OK, "{path}: {body}");
            body[kind].as_array().unwrap().len()
        };
        for (id, parent) in [("North", "RegionOne"), ("Pole", "North")] {
            let body = json!({"id": id, "parent_region_id": parent});
            world.make("/v3/regions", "region", body).await;
        }
        assert_eq!(found("regions", "").await, 3);
        assert_eq!(found("regions", "parent_region_id=North").await, 1);
        // No region lies above itself, or below one that is not there.
        for (parent, expected) in [
            ("Pole", StatusCode::BAD_REQUEST),
            ("RegionOne", StatusCode::BAD_REQUEST),
            ("none", StatusCode::NOT_FOUND),
        ] {
            let body = json!({"region": {"parent_region_id": parent}});
            let (status, _) = world
                .admin(Method::PATCH, "/v3/regions/RegionOne", body)
                .await;
            assert_eq!(status, expected, "{parent}");
        }
        let body = json!({"region": {"parent_region_id": "RegionOne"}});
        let (status, _) = world.admin(Method::PATCH, "/v3/regions/Pole", body).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(found("regions", "parent_region_id=RegionOne").await, 2);

        let image = json!({"type": "image", "name": "glance"});
        let image = world.make("/v3/services", "service", image).await;
        assert_eq!(found("services", "type=image").await, 1);
        assert_eq!(found("services", "name=glance&type=compute").await, 0);
        assert_eq!(found("services", "name__icontains=GLA").await, 1);
        for interface in ["public", "admin"] {
            let body = json!({"service_id": image, "interface": interface, "region_id": "Pole",
                "url": "http://glance"});
            world.make("/v3/endpoints", "endpoint", body).await;
        }
        assert_eq!(found("endpoints", "").await, 5);
        assert_eq!(found("endpoints", "interface=public").await, 2);
        assert_eq!(found("endpoints", &format!("service_id={image}")).await, 2);
        assert_eq!(
            found("endpoints", "region_id=Pole&interface=admin").await,
            1
        );
        assert_eq!(found("endpoints", "region=RegionOne").await, 3);
    })
    .await;
}
