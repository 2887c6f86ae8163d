//! Limits the length of an answer. The SDK itself sets no limit.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use http_body_util::Limited;

/// The longest answer that is read, in bytes. KMS's longest is a key policy of 128 KiB, which JSON's escaping can make six times as long.
const MAX_ANSWER: usize = 1 << 20;

/// Cuts answers off at [`MAX_ANSWER`]. A cut answer cannot be parsed, and counts as not KMS's.
#[derive(Debug)]
pub(crate) struct Limit;

impl Intercept for Limit {
    fn name(&self) -> &'static str {
        "KeyplaneLimit"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        let body = response.take_body();
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER));
        Ok(())
    }
}
