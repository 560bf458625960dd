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

        // A region that is named the old way is made; by its id it must be there.
        let mut body = json!({"service_id": image, "interface": "internal", "url": "http://glance"});
        body["region_id"] = json!("South");
        let endpoint = json!({ "endpoint": body });
        let (status, _) = world.admin(Method::POST, "/v3/endpoints", endpoint).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        body.as_object_mut().unwrap().remove("region_id");
        body["region"] = json!("South");
        world.make("/v3/endpoints", "endpoint", body).await;
        assert_eq!(found("endpoints", "region_id=South").await, 1);
        assert_eq!(found("regions", "id=South").await, 1);
        // Nothing is made for an endpoint that is refused.
        let bad = json!({"endpoint": {"service_id": "none", "interface": "public", "url": "u", "region": "West"}});
        let (status, _) = world.admin(Method::POST, "/v3/endpoints", bad).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(found("regions", "id=West").await, 0);

        // A region whose id the address says.
        for (body, expected) in [
            (json!({"id": "East"}), StatusCode::BAD_REQUEST),
            (json!({"description": "wild"}), StatusCode::CREATED),
            (json!({}), StatusCode::CONFLICT),
        ] {
            let body = json!({ "region": body });
            let (status, answer) = world.admin(Method::PUT, "/v3/regions/West", body).await;
            assert_eq!(status, expected, "{answer}");
        }
        let (_, west) = world.admin(Method::GET, "/v3/regions/West", Value::Null).await;
        assert_eq!(west["region"]["description"], "wild");
    })
    .await;
}
