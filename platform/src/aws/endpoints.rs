//! The endpoints of S3's buckets, each resolved once.

use std::sync::{PoisonError, RwLock};

use aws_sdk_s3::config::endpoint::{
    DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint,
};

/// Buckets times kinds of calls. With more, all are resolved again.
const CAPACITY: usize = 32;

/// Resolves endpoints by the SDK's rules, 3 % of the processor time of front and workers under saturation. An endpoint does not
/// depend on an object's key.
#[derive(Debug, Default)]
pub struct EndpointCache {
    resolver: DefaultResolver,
    known: RwLock<Vec<(Params, Endpoint)>>,
}

impl ResolveEndpoint for EndpointCache {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, endpoint)) = known.iter().find(|(known, _)| share(known, params)) {
            return EndpointFuture::ready(Ok(endpoint.clone()));
        }
        EndpointFuture::new(async move {
            let endpoint = self.resolver.resolve_endpoint(params).await?;
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() == CAPACITY {
                known.clear();
            }
            known.push((params.clone(), endpoint.clone()));
            Ok(endpoint)
        })
    }
}

/// Returns whether two calls share their endpoint: whether they are equal but for the key, the prefix and the source of
/// a copy.
fn share(a: &Params, b: &Params) -> bool {
    a.bucket() == b.bucket()
        && a.region() == b.region()
        && a.endpoint() == b.endpoint()
        && a.use_fips() == b.use_fips()
        && a.use_dual_stack() == b.use_dual_stack()
        && a.force_path_style() == b.force_path_style()
        && a.accelerate() == b.accelerate()
        && a.use_global_endpoint() == b.use_global_endpoint()
        && a.use_object_lambda_endpoint() == b.use_object_lambda_endpoint()
        && a.disable_access_points() == b.disable_access_points()
        && a.disable_multi_region_access_points() == b.disable_multi_region_access_points()
        && a.use_arn_region() == b.use_arn_region()
        && a.use_s3_express_control_endpoint() == b.use_s3_express_control_endpoint()
        && a.disable_s3_express_session_auth() == b.disable_s3_express_session_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_endpoint_is_that_of_the_sdk_at_the_first_call_and_later() {
        let base = || Params::builder().region("eu-central-1").key("a");
        let mut calls = vec![
            base().bucket("one"),
            base().bucket("one").key("b"),
            base().bucket("two"),
            base().bucket("one").region("us-east-1"),
            base().bucket("one").endpoint("http://127.0.0.1:4566"),
            base().bucket("one").use_fips(true),
            base().bucket("one").use_dual_stack(true),
            base().bucket("one").force_path_style(true),
            base().bucket("one").accelerate(true),
            base()
                .bucket("one")
                .region("us-east-1")
                .use_global_endpoint(true),
            base().bucket("one--usw2-az1--x-s3"),
            base()
                .bucket("one--usw2-az1--x-s3")
                .use_s3_express_control_endpoint(true),
            base()
                .bucket("one--usw2-az1--x-s3")
                .disable_s3_express_session_auth(true),
            base().use_object_lambda_endpoint(true),
            base().bucket("arn:aws:s3:us-west-2:000000000000:accesspoint:one"),
            base()
                .bucket("arn:aws:s3:us-west-2:000000000000:accesspoint:one")
                .use_arn_region(false),
            base()
                .bucket("arn:aws:s3:us-west-2:000000000000:accesspoint:one")
                .disable_access_points(true),
            base().bucket("arn:aws:s3::000000000000:accesspoint:one.mrap"),
            base()
                .bucket("arn:aws:s3::000000000000:accesspoint:one.mrap")
                .disable_multi_region_access_points(true),
        ];
        calls.extend((0..2 * CAPACITY).map(|number| base().bucket(format!("many-{number}"))));
        let (cache, rules) = (EndpointCache::default(), DefaultResolver::new());
        for round in 0..3 {
            for call in &calls {
                let call = call.clone().build().unwrap();
                let cached = cache.resolve_endpoint(&call).await;
                let resolved = rules.resolve_endpoint(&call).await;
                assert_eq!(cached.is_ok(), resolved.is_ok(), "{round} {call:?}");
                assert_eq!(cached.ok(), resolved.ok(), "{round} {call:?}");
                assert!(cache.known.read().unwrap().len() <= CAPACITY);
            }
        }
    }
}
