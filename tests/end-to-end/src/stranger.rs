//! Another user of the same account, who makes objects and changes ours with AWS's own SDK.

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use tokio::runtime::Runtime;

use crate::world::{HERE, World};

/// Another user with the account's access key.
pub(crate) struct Stranger {
    client: Client,
    runtime: Runtime,
}

impl Stranger {
    pub(crate) fn new(world: &World) -> Self {
        let emulator = world.emulator(HERE).unwrap();
        let secret = std::fs::read_to_string(world.folder.join("aws-secret-access-key")).unwrap();
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(emulator.endpoint())
            .credentials_provider(Credentials::from_keys("KEYPLANELAB", secret.trim(), None))
            .build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { client: Client::from_conf(config), runtime }
    }

    /// Makes a key with AWS's own material, and gives it an alias (with `alias/`).
    pub(crate) fn takes(&self, alias: &str) {
        self.runtime.block_on(async {
            let made = self.client.create_key().send().await.unwrap();
            let id = made.key_metadata.unwrap().key_id;
            self.client.create_alias().alias_name(alias).target_key_id(id).send().await.unwrap();
        });
    }

    /// Gives an existing key an alias.
    pub(crate) fn names(&self, alias: &str, id: &str) {
        self.runtime.block_on(self.client.create_alias().alias_name(alias).target_key_id(id).send()).unwrap();
    }

    pub(crate) fn gives_back(&self, alias: &str) {
        self.runtime.block_on(self.client.delete_alias().alias_name(alias).send()).unwrap();
    }

    /// Deletes a key's imported material, which makes it unusable at once.
    pub(crate) fn empties(&self, id: &str) {
        self.runtime.block_on(self.client.delete_imported_key_material().key_id(id).send()).unwrap();
    }

    pub(crate) fn disables(&self, id: &str) {
        self.runtime.block_on(self.client.disable_key().key_id(id).send()).unwrap();
    }

    pub(crate) fn enables(&self, id: &str) {
        self.runtime.block_on(self.client.enable_key().key_id(id).send()).unwrap();
    }
}
