-- The ledger of Fleetmaster on SQL Server 2017 or later, at revision 0010.
-- Rendered from the migrations by `python -m master.ledger.schema.rendering`; do not edit.
-- It may be run again: a revision that is there already is passed over.
-- Filtered indexes want these two on; sqlcmd has the first one off.
SET QUOTED_IDENTIFIER ON;

SET ANSI_NULLS ON;

SET XACT_ABORT ON;

IF OBJECT_ID(N'alembic_version', N'U') IS NULL
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0001')
BEGIN
    BEGIN TRANSACTION;
    CREATE TABLE audit_log (
        sequence BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        actor NVARCHAR(120) NOT NULL,
        face NVARCHAR(16) NOT NULL,
        action NVARCHAR(40) NOT NULL,
        node_id NVARCHAR(26) NULL,
        outcome NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        chain VARBINARY(32) NOT NULL,
        CONSTRAINT pk_audit_log PRIMARY KEY (sequence),
        CONSTRAINT ck_audit_log_outcome CHECK (outcome IN ('done', 'refused', 'failed'))
    );
    CREATE INDEX ix_audit_log_node_id ON audit_log (node_id);
    CREATE TABLE nodes (
        id NVARCHAR(26) NOT NULL,
        name NVARCHAR(40) NOT NULL,
        name_key NVARCHAR(40) NOT NULL,
        folder NVARCHAR(255) NOT NULL,
        entry NVARCHAR(255) NOT NULL,
        bot_user_id BIGINT NOT NULL,
        desired_state NVARCHAR(16) NOT NULL,
        lifecycle NVARCHAR(16) NOT NULL,
        readiness NVARCHAR(16) NOT NULL,
        key_epoch INTEGER NOT NULL,
        template_version NVARCHAR(32) NOT NULL,
        tags NVARCHAR(400) NOT NULL,
        priority INTEGER NOT NULL,
        flagged_at DATETIME2(3) NULL,
        flag_reason NVARCHAR(40) NOT NULL,
        pid INTEGER NULL,
        pid_started_at FLOAT(53) NULL,
        created_at DATETIME2(3) NOT NULL,
        updated_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_nodes PRIMARY KEY (id),
        CONSTRAINT ck_nodes_desired_state CHECK (desired_state IN ('running', 'stopped')),
        CONSTRAINT ck_nodes_lifecycle CHECK (lifecycle IN ('provisioning', 'active', 'removed')),
        CONSTRAINT ck_nodes_readiness CHECK (readiness IN ('handshake', 'process')),
        CONSTRAINT ck_nodes_key_epoch CHECK (key_epoch >= 1)
    );
    CREATE UNIQUE INDEX ux_nodes_bot_user_id_alive ON nodes (bot_user_id) WHERE lifecycle <> 'removed';
    CREATE UNIQUE INDEX ux_nodes_folder_alive ON nodes (folder) WHERE lifecycle <> 'removed';
    CREATE UNIQUE INDEX ux_nodes_name_key_alive ON nodes (name_key) WHERE lifecycle <> 'removed';
    CREATE TABLE bot_duplications (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        source NVARCHAR(80) NOT NULL,
        requested_by NVARCHAR(120) NOT NULL,
        outcome NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        finished_at DATETIME2(3) NULL,
        CONSTRAINT pk_bot_duplications PRIMARY KEY (id),
        CONSTRAINT ck_bot_duplications_outcome CHECK (outcome IN ('running', 'done', 'failed', 'cleaned_up')),
        CONSTRAINT fk_bot_duplications_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_bot_duplications_node_id ON bot_duplications (node_id);
    CREATE TABLE error_events (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        last_at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        source NVARCHAR(16) NOT NULL,
        fingerprint NVARCHAR(16) NOT NULL,
        summary NVARCHAR(400) NOT NULL,
        detail NVARCHAR(max) NOT NULL,
        count BIGINT NOT NULL,
        CONSTRAINT pk_error_events PRIMARY KEY (id),
        CONSTRAINT ck_error_events_count CHECK (count >= 1),
        CONSTRAINT fk_error_events_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_error_events_node_id_fingerprint ON error_events (node_id, fingerprint);
    CREATE TABLE handshake_events (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NULL,
        message_type NVARCHAR(40) NOT NULL,
        outcome NVARCHAR(40) NOT NULL,
        transport NVARCHAR(16) NOT NULL,
        author_id BIGINT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_handshake_events PRIMARY KEY (id),
        CONSTRAINT fk_handshake_events_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_handshake_events_at ON handshake_events (at);
    CREATE INDEX ix_handshake_events_node_id_at ON handshake_events (node_id, at);
    CREATE TABLE licenses (
        id NVARCHAR(32) NOT NULL,
        node_id NVARCHAR(26) NULL,
        tier NVARCHAR(40) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        code_hash VARBINARY(32) NOT NULL,
        issued_at DATETIME2(3) NOT NULL,
        expires_at DATETIME2(3) NULL,
        activated_at DATETIME2(3) NULL,
        CONSTRAINT pk_licenses PRIMARY KEY (id),
        CONSTRAINT ck_licenses_state CHECK (state IN ('issued', 'active', 'suspended', 'revoked', 'expired')),
        CONSTRAINT fk_licenses_node_id FOREIGN KEY(node_id) REFERENCES nodes (id),
        CONSTRAINT uq_licenses_code_hash UNIQUE (code_hash)
    );
    CREATE INDEX ix_licenses_node_id ON licenses (node_id);
    CREATE TABLE node_tokens (
        node_id NVARCHAR(26) NOT NULL,
        sealed VARBINARY(512) NOT NULL,
        updated_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_node_tokens PRIMARY KEY (node_id),
        CONSTRAINT fk_node_tokens_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE TABLE process_events (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        kind NVARCHAR(16) NOT NULL,
        pid INTEGER NULL,
        exit_code INTEGER NULL,
        signal SMALLINT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_process_events PRIMARY KEY (id),
        CONSTRAINT fk_process_events_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_process_events_node_id_at ON process_events (node_id, at);
    INSERT INTO alembic_version (version_num) VALUES ('0001');
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0002')
BEGIN
    BEGIN TRANSACTION;
    CREATE TABLE giveaways (
        id NVARCHAR(26) NOT NULL,
        guild_id BIGINT NOT NULL,
        channel_id BIGINT NOT NULL,
        message_id BIGINT NULL,
        prize NVARCHAR(200) NOT NULL,
        winners INTEGER NOT NULL,
        required_role_id BIGINT NULL,
        started_by BIGINT NOT NULL,
        started_at DATETIME2(3) NOT NULL,
        ends_at DATETIME2(3) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        seed_hash VARBINARY(32) NOT NULL,
        seed VARBINARY(32) NULL,
        CONSTRAINT pk_giveaways PRIMARY KEY (id),
        CONSTRAINT ck_giveaways_state CHECK (state IN ('open', 'drawn', 'cancelled')),
        CONSTRAINT ck_giveaways_winners CHECK (winners >= 1)
    );
    CREATE INDEX ix_giveaways_state_ends_at ON giveaways (state, ends_at);
    CREATE UNIQUE INDEX ux_giveaways_message_id ON giveaways (message_id) WHERE message_id IS NOT NULL;
    CREATE TABLE gmail_watch (
        id NVARCHAR(26) NOT NULL,
        mailbox_hash VARBINARY(32) NOT NULL,
        history_id BIGINT NOT NULL,
        last_message_at DATETIME2(3) NULL,
        state NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        updated_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_gmail_watch PRIMARY KEY (id),
        CONSTRAINT ck_gmail_watch_state CHECK (state IN ('watching', 'paused', 'failed')),
        CONSTRAINT uq_gmail_watch_mailbox_hash UNIQUE (mailbox_hash)
    );
    CREATE TABLE patches (
        id NVARCHAR(26) NOT NULL,
        name NVARCHAR(80) NOT NULL,
        version NVARCHAR(32) NOT NULL,
        at DATETIME2(3) NOT NULL,
        author NVARCHAR(120) NOT NULL,
        archive_hash VARBINARY(32) NOT NULL,
        manifest NVARCHAR(max) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        channel_id BIGINT NULL,
        message_id BIGINT NULL,
        finished_at DATETIME2(3) NULL,
        CONSTRAINT pk_patches PRIMARY KEY (id),
        CONSTRAINT ck_patches_state CHECK (state IN ('announced', 'canary', 'rolling', 'paused', 'done', 'rolled_back', 'failed')),
        CONSTRAINT uq_patches_archive_hash UNIQUE (archive_hash)
    );
    CREATE UNIQUE INDEX ux_patches_name_version ON patches (name, version);
    CREATE TABLE ticket_permissions (
        id NVARCHAR(26) NOT NULL,
        guild_id BIGINT NOT NULL,
        channel_id BIGINT NOT NULL,
        subject_id BIGINT NOT NULL,
        subject_kind NVARCHAR(8) NOT NULL,
        allow_bits BIGINT NOT NULL,
        deny_bits BIGINT NOT NULL,
        granted_by BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        revoked_at DATETIME2(3) NULL,
        CONSTRAINT pk_ticket_permissions PRIMARY KEY (id),
        CONSTRAINT ck_ticket_permissions_subject_kind CHECK (subject_kind IN ('user', 'role'))
    );
    CREATE INDEX ix_ticket_permissions_channel_id_subject_id ON ticket_permissions (channel_id, subject_id);
    CREATE TABLE giveaway_entries (
        giveaway_id NVARCHAR(26) NOT NULL,
        user_id BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        won BIT NOT NULL,
        CONSTRAINT pk_giveaway_entries PRIMARY KEY (giveaway_id, user_id),
        CONSTRAINT fk_giveaway_entries_giveaway_id FOREIGN KEY(giveaway_id) REFERENCES giveaways (id)
    );
    CREATE TABLE patch_tracking (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        patch_id NVARCHAR(26) NOT NULL,
        node_id NVARCHAR(26) NULL,
        kind NVARCHAR(16) NOT NULL,
        user_id BIGINT NULL,
        emoji NVARCHAR(64) NOT NULL,
        status NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_patch_tracking PRIMARY KEY (id),
        CONSTRAINT ck_patch_tracking_kind CHECK (kind IN ('reaction', 'status')),
        CONSTRAINT fk_patch_tracking_node_id FOREIGN KEY(node_id) REFERENCES nodes (id),
        CONSTRAINT fk_patch_tracking_patch_id FOREIGN KEY(patch_id) REFERENCES patches (id)
    );
    CREATE INDEX ix_patch_tracking_node_id_at ON patch_tracking (node_id, at);
    CREATE INDEX ix_patch_tracking_patch_id_at ON patch_tracking (patch_id, at);
    CREATE TABLE solution_runs (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        solution_id NVARCHAR(64) NOT NULL,
        error_event_id NVARCHAR(26) NULL,
        action NVARCHAR(32) NOT NULL,
        outcome NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        finished_at DATETIME2(3) NULL,
        CONSTRAINT pk_solution_runs PRIMARY KEY (id),
        CONSTRAINT ck_solution_runs_outcome CHECK (outcome IN ('running', 'helped', 'did_not_help', 'failed', 'skipped')),
        CONSTRAINT fk_solution_runs_error_event_id FOREIGN KEY(error_event_id) REFERENCES error_events (id),
        CONSTRAINT fk_solution_runs_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_solution_runs_node_id_at ON solution_runs (node_id, at);
    CREATE INDEX ix_solution_runs_solution_id_at ON solution_runs (solution_id, at);
    UPDATE alembic_version SET version_num='0002' WHERE alembic_version.version_num = '0001';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0003')
BEGIN
    BEGIN TRANSACTION;
    CREATE TABLE applied_writes (
        session_id NVARCHAR(26) NOT NULL,
        sequence BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_applied_writes PRIMARY KEY (session_id),
        CONSTRAINT ck_applied_writes_sequence CHECK (sequence >= 1)
    );
    CREATE TABLE pulse_snapshots (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        latency_ms INTEGER NULL,
        guilds INTEGER NOT NULL,
        memory_bytes BIGINT NULL,
        CONSTRAINT pk_pulse_snapshots PRIMARY KEY (id),
        CONSTRAINT fk_pulse_snapshots_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_pulse_snapshots_node_id_at ON pulse_snapshots (node_id, at);
    CREATE INDEX ix_error_events_last_at ON error_events (last_at);
    CREATE INDEX ix_error_events_node_id_last_at ON error_events (node_id, last_at);
    UPDATE alembic_version SET version_num='0003' WHERE alembic_version.version_num = '0002';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0004')
BEGIN
    BEGIN TRANSACTION;
    ALTER TABLE nodes ADD host NVARCHAR(64) NOT NULL DEFAULT '';
    UPDATE alembic_version SET version_num='0004' WHERE alembic_version.version_num = '0003';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0005')
BEGIN
    BEGIN TRANSACTION;
    ALTER TABLE nodes ADD options NVARCHAR(4000) NOT NULL DEFAULT '';
    DROP INDEX ux_nodes_folder_alive ON nodes;
    DROP INDEX ux_nodes_bot_user_id_alive ON nodes;
    CREATE UNIQUE INDEX ux_nodes_bot_user_id_alive ON nodes (bot_user_id) WHERE lifecycle <> 'removed' AND bot_user_id <> 0;
    UPDATE alembic_version SET version_num='0005' WHERE alembic_version.version_num = '0004';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0006')
BEGIN
    BEGIN TRANSACTION;
    DROP TABLE solution_runs;
    CREATE TABLE solution_runs (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        solution_id NVARCHAR(64) NOT NULL,
        content_hash NVARCHAR(16) NOT NULL,
        fingerprint NVARCHAR(16) NOT NULL,
        seen_in NVARCHAR(16) NOT NULL,
        line NVARCHAR(400) NOT NULL,
        action NVARCHAR(40) NOT NULL,
        outcome NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        actor NVARCHAR(120) NOT NULL,
        ready_ms BIGINT NULL,
        finished_at DATETIME2(3) NULL,
        CONSTRAINT pk_solution_runs PRIMARY KEY (id),
        CONSTRAINT ck_solution_runs_outcome CHECK (outcome IN ('running', 'watching', 'helped', 'did_not_help', 'failed', 'skipped', 'interrupted', 'detected', 'asked', 'declined', 'told')),
        CONSTRAINT fk_solution_runs_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_solution_runs_node_id_at ON solution_runs (node_id, at);
    CREATE INDEX ix_solution_runs_solution_id_at ON solution_runs (solution_id, at);
    CREATE INDEX ix_solution_runs_outcome ON solution_runs (outcome);
    CREATE TABLE solutions (
        solution_id NVARCHAR(64) NOT NULL,
        mode NVARCHAR(16) NOT NULL,
        since DATETIME2(3) NOT NULL,
        first_at DATETIME2(3) NOT NULL,
        content_hash NVARCHAR(16) NOT NULL,
        why NVARCHAR(400) NOT NULL,
        changed_by NVARCHAR(120) NOT NULL,
        CONSTRAINT pk_solutions PRIMARY KEY (solution_id),
        CONSTRAINT ck_solutions_mode CHECK (mode IN ('detecting', 'on', 'off', 'suspended'))
    );
    CREATE TABLE solution_versions (
        id NVARCHAR(26) NOT NULL,
        solution_id NVARCHAR(64) NOT NULL,
        version INTEGER NOT NULL,
        at DATETIME2(3) NOT NULL,
        actor NVARCHAR(120) NOT NULL,
        why NVARCHAR(400) NOT NULL,
        content NVARCHAR(max) NOT NULL,
        CONSTRAINT pk_solution_versions PRIMARY KEY (id),
        CONSTRAINT ck_solution_versions_version CHECK (version >= 1)
    );
    CREATE UNIQUE INDEX ux_solution_versions_solution_id_version ON solution_versions (solution_id, version);
    CREATE TABLE error_groups (
        fingerprint NVARCHAR(16) NOT NULL,
        kind NVARCHAR(16) NOT NULL,
        title NVARCHAR(400) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        first_at DATETIME2(3) NOT NULL,
        last_at DATETIME2(3) NOT NULL,
        count BIGINT NOT NULL,
        sample NVARCHAR(max) NOT NULL,
        muted_until DATETIME2(3) NULL,
        changed_at DATETIME2(3) NULL,
        changed_by NVARCHAR(120) NOT NULL,
        CONSTRAINT pk_error_groups PRIMARY KEY (fingerprint),
        CONSTRAINT ck_error_groups_count CHECK (count >= 1),
        CONSTRAINT ck_error_groups_kind CHECK (kind IN ('exception', 'exit', 'line', 'state')),
        CONSTRAINT ck_error_groups_state CHECK (state IN ('new', 'known', 'regressed', 'resolved', 'muted'))
    );
    CREATE INDEX ix_error_groups_last_at ON error_groups (last_at);
    CREATE INDEX ix_error_events_fingerprint ON error_events (fingerprint, last_at);
    UPDATE alembic_version SET version_num='0006' WHERE alembic_version.version_num = '0005';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0007')
BEGIN
    BEGIN TRANSACTION;
    DROP TABLE patch_tracking;
    DROP TABLE patches;
    CREATE TABLE patches (
        id NVARCHAR(26) NOT NULL,
        name NVARCHAR(40) NOT NULL,
        channel NVARCHAR(40) NOT NULL,
        version BIGINT NOT NULL,
        key_id NVARCHAR(64) NOT NULL,
        author NVARCHAR(120) NOT NULL,
        received_at DATETIME2(3) NOT NULL,
        received_from NVARCHAR(120) NOT NULL,
        bundle_hash VARBINARY(32) NOT NULL,
        bundle_bytes BIGINT NOT NULL,
        document NVARCHAR(max) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        rollout_plan NVARCHAR(4000) NOT NULL,
        wave INTEGER NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        changed_by NVARCHAR(120) NOT NULL,
        reason NVARCHAR(400) NOT NULL,
        message_channel_id BIGINT NULL,
        message_id BIGINT NULL,
        finished_at DATETIME2(3) NULL,
        CONSTRAINT pk_patches PRIMARY KEY (id),
        CONSTRAINT ck_patches_state CHECK (state IN ('received', 'approved', 'rolling', 'soaking', 'asking', 'paused', 'done', 'rolling_back', 'rolled_back', 'aborted', 'failed')),
        CONSTRAINT uq_patches_bundle_hash UNIQUE (bundle_hash)
    );
    CREATE INDEX ix_patches_received_at ON patches (received_at);
    CREATE INDEX ix_patches_state ON patches (state);
    CREATE TABLE patch_nodes (
        patch_id NVARCHAR(26) NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        wave INTEGER NOT NULL,
        state NVARCHAR(16) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        release_after INTEGER NULL,
        release_before INTEGER NULL,
        baseline NVARCHAR(max) NOT NULL,
        detail NVARCHAR(max) NOT NULL,
        CONSTRAINT pk_patch_nodes PRIMARY KEY (patch_id, node_id),
        CONSTRAINT ck_patch_nodes_state CHECK (state IN ('waiting', 'ordered', 'received', 'staged', 'applied', 'healthy', 'good', 'failed', 'rolling_back', 'rolled_back', 'rollback_failed', 'skipped', 'absent')),
        CONSTRAINT fk_patch_nodes_patch_id FOREIGN KEY(patch_id) REFERENCES patches (id),
        CONSTRAINT fk_patch_nodes_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_patch_nodes_node_id ON patch_nodes (node_id);
    CREATE TABLE patch_keys (
        id NVARCHAR(64) NOT NULL,
        name NVARCHAR(80) NOT NULL,
        kind NVARCHAR(40) NOT NULL,
        [public] NVARCHAR(1000) NOT NULL,
        added_at DATETIME2(3) NOT NULL,
        added_by NVARCHAR(120) NOT NULL,
        revoked_at DATETIME2(3) NULL,
        revoked_by NVARCHAR(120) NOT NULL,
        why NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_patch_keys PRIMARY KEY (id)
    );
    CREATE TABLE patch_versions (
        key_id NVARCHAR(64) NOT NULL,
        channel NVARCHAR(40) NOT NULL,
        version BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_patch_versions PRIMARY KEY (key_id, channel)
    );
    CREATE TABLE patch_tracking (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        patch_id NVARCHAR(26) NOT NULL,
        node_id NVARCHAR(26) NULL,
        kind NVARCHAR(16) NOT NULL,
        user_id BIGINT NULL,
        emoji NVARCHAR(64) NOT NULL,
        status NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_patch_tracking PRIMARY KEY (id),
        CONSTRAINT ck_patch_tracking_kind CHECK (kind IN ('reaction', 'unreaction', 'status')),
        CONSTRAINT fk_patch_tracking_node_id FOREIGN KEY(node_id) REFERENCES nodes (id),
        CONSTRAINT fk_patch_tracking_patch_id FOREIGN KEY(patch_id) REFERENCES patches (id)
    );
    CREATE INDEX ix_patch_tracking_node_id_at ON patch_tracking (node_id, at);
    CREATE INDEX ix_patch_tracking_patch_id_at ON patch_tracking (patch_id, at);
    CREATE TABLE generations (
        id NVARCHAR(26) NOT NULL,
        kind NVARCHAR(16) NOT NULL,
        subject NVARCHAR(80) NOT NULL,
        generation INTEGER NOT NULL,
        at DATETIME2(3) NOT NULL,
        cause NVARCHAR(16) NOT NULL,
        parent NVARCHAR(26) NOT NULL,
        actor NVARCHAR(120) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        manifest NVARCHAR(max) NOT NULL,
        signature VARBINARY(32) NOT NULL,
        CONSTRAINT pk_generations PRIMARY KEY (id),
        CONSTRAINT ck_generations_generation CHECK (generation >= 1),
        CONSTRAINT ck_generations_kind CHECK (kind IN ('node', 'template', 'patch', 'solution'))
    );
    CREATE UNIQUE INDEX ux_generations_kind_subject_generation ON generations (kind, subject, generation);
    CREATE TABLE facts (
        name NVARCHAR(40) NOT NULL,
        value NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_facts PRIMARY KEY (name)
    );
    UPDATE alembic_version SET version_num='0007' WHERE alembic_version.version_num = '0006';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0008')
BEGIN
    BEGIN TRANSACTION;
    DROP TABLE giveaway_entries;
    DROP TABLE ticket_permissions;
    DROP TABLE giveaways;
    ALTER TABLE licenses ADD holder_id BIGINT NULL;
    ALTER TABLE licenses ADD guild_id BIGINT NULL;
    ALTER TABLE licenses ADD origin NVARCHAR(120) NOT NULL DEFAULT '';
    ALTER TABLE licenses ADD note NVARCHAR(200) NOT NULL DEFAULT '';
    ALTER TABLE licenses ADD warned_days INTEGER NULL;
    ALTER TABLE licenses ADD changed_at DATETIME2(3) NULL;
    ALTER TABLE licenses ADD changed_by NVARCHAR(120) NOT NULL DEFAULT '';
    CREATE INDEX ix_licenses_state_expires_at ON licenses (state, expires_at);
    CREATE TABLE licence_uses (
        licence_id NVARCHAR(32) NOT NULL,
        kind NVARCHAR(8) NOT NULL,
        subject NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        last_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_licence_uses PRIMARY KEY (licence_id, kind, subject),
        CONSTRAINT ck_licence_uses_kind CHECK (kind IN ('node', 'person')),
        CONSTRAINT fk_licence_uses_licence_id FOREIGN KEY(licence_id) REFERENCES licenses (id)
    );
    CREATE INDEX ix_licence_uses_kind_subject ON licence_uses (kind, subject);
    CREATE TABLE licence_events (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        licence_id NVARCHAR(32) NOT NULL,
        what NVARCHAR(16) NOT NULL,
        actor NVARCHAR(120) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_licence_events PRIMARY KEY (id),
        CONSTRAINT ck_licence_events_what CHECK (what IN ('issued', 'redeemed', 'renewed', 'suspended', 'reinstated', 'revoked', 'transferred', 'expired', 'warned', 'role')),
        CONSTRAINT fk_licence_events_licence_id FOREIGN KEY(licence_id) REFERENCES licenses (id)
    );
    CREATE INDEX ix_licence_events_licence_id_at ON licence_events (licence_id, at);
    CREATE TABLE shop_events (
        source NVARCHAR(16) NOT NULL,
        event_id NVARCHAR(120) NOT NULL,
        at DATETIME2(3) NOT NULL,
        reference NVARCHAR(120) NOT NULL,
        licence_id NVARCHAR(32) NULL,
        outcome NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_shop_events PRIMARY KEY (source, event_id),
        CONSTRAINT ck_shop_events_outcome CHECK (outcome IN ('taken', 'issued', 'renewed', 'revoked', 'ignored', 'refused')),
        CONSTRAINT fk_shop_events_licence_id FOREIGN KEY(licence_id) REFERENCES licenses (id)
    );
    CREATE INDEX ix_shop_events_source_reference ON shop_events (source, reference);
    CREATE TABLE tickets (
        id NVARCHAR(26) NOT NULL,
        number INTEGER NOT NULL,
        guild_id BIGINT NOT NULL,
        node_id NVARCHAR(26) NOT NULL,
        category NVARCHAR(40) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        channel_id BIGINT NULL,
        is_thread BIT NOT NULL,
        author_id BIGINT NOT NULL,
        claimed_by BIGINT NULL,
        priority NVARCHAR(8) NOT NULL,
        topic NVARCHAR(200) NOT NULL,
        answers NVARCHAR(max) NOT NULL,
        opened_at DATETIME2(3) NOT NULL,
        last_at DATETIME2(3) NOT NULL,
        warned_at DATETIME2(3) NULL,
        closed_at DATETIME2(3) NULL,
        closed_by BIGINT NULL,
        reason NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_tickets PRIMARY KEY (id),
        CONSTRAINT ck_tickets_priority CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
        CONSTRAINT ck_tickets_state CHECK (state IN ('queued', 'opening', 'open', 'closing', 'closed', 'deleted')),
        CONSTRAINT fk_tickets_node_id FOREIGN KEY(node_id) REFERENCES nodes (id)
    );
    CREATE INDEX ix_tickets_channel_id ON tickets (channel_id);
    CREATE INDEX ix_tickets_guild_id_number ON tickets (guild_id, number);
    CREATE INDEX ix_tickets_node_id_state ON tickets (node_id, state);
    CREATE INDEX ix_tickets_state_last_at ON tickets (state, last_at);
    CREATE TABLE ticket_permissions (
        id NVARCHAR(26) NOT NULL,
        ticket_id NVARCHAR(26) NOT NULL,
        channel_id BIGINT NOT NULL,
        subject_id BIGINT NOT NULL,
        subject_kind NVARCHAR(8) NOT NULL,
        permission_set NVARCHAR(16) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        asked_by NVARCHAR(120) NOT NULL,
        at DATETIME2(3) NOT NULL,
        until DATETIME2(3) NULL,
        decided_by NVARCHAR(120) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_ticket_permissions PRIMARY KEY (id),
        CONSTRAINT ck_ticket_permissions_state CHECK (state IN ('asking', 'granting', 'granted', 'revoking', 'revoked', 'refused', 'failed')),
        CONSTRAINT ck_ticket_permissions_subject_kind CHECK (subject_kind IN ('user', 'role')),
        CONSTRAINT fk_ticket_permissions_ticket_id FOREIGN KEY(ticket_id) REFERENCES tickets (id)
    );
    CREATE INDEX ix_ticket_permissions_channel_id_subject_id ON ticket_permissions (channel_id, subject_id);
    CREATE INDEX ix_ticket_permissions_state_until ON ticket_permissions (state, until);
    CREATE TABLE giveaways (
        id NVARCHAR(26) NOT NULL,
        guild_id BIGINT NOT NULL,
        channel_id BIGINT NOT NULL,
        message_id BIGINT NULL,
        prize NVARCHAR(200) NOT NULL,
        description NVARCHAR(1000) NOT NULL,
        winners INTEGER NOT NULL,
        rules NVARCHAR(4000) NOT NULL,
        prize_tier NVARCHAR(40) NOT NULL,
        claim_s INTEGER NOT NULL,
        started_by BIGINT NOT NULL,
        starts_at DATETIME2(3) NOT NULL,
        ends_at DATETIME2(3) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        seed_hash VARBINARY(32) NOT NULL,
        sealed_seed VARBINARY(128) NOT NULL,
        seed VARBINARY(32) NULL,
        entries_hash VARBINARY(32) NULL,
        draws INTEGER NOT NULL,
        told_draws INTEGER NOT NULL,
        drawn_at DATETIME2(3) NULL,
        changed_at DATETIME2(3) NOT NULL,
        changed_by NVARCHAR(120) NOT NULL,
        reason NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_giveaways PRIMARY KEY (id),
        CONSTRAINT ck_giveaways_state CHECK (state IN ('scheduled', 'open', 'drawing', 'drawn', 'cancelled')),
        CONSTRAINT ck_giveaways_winners CHECK (winners >= 1)
    );
    CREATE INDEX ix_giveaways_guild_id_ends_at ON giveaways (guild_id, ends_at);
    CREATE INDEX ix_giveaways_state_ends_at ON giveaways (state, ends_at);
    CREATE TABLE giveaway_entries (
        giveaway_id NVARCHAR(26) NOT NULL,
        user_id BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        weight INTEGER NOT NULL,
        CONSTRAINT pk_giveaway_entries PRIMARY KEY (giveaway_id, user_id),
        CONSTRAINT ck_giveaway_entries_weight CHECK (weight >= 1),
        CONSTRAINT fk_giveaway_entries_giveaway_id FOREIGN KEY(giveaway_id) REFERENCES giveaways (id)
    );
    CREATE TABLE giveaway_winners (
        giveaway_id NVARCHAR(26) NOT NULL,
        draw INTEGER NOT NULL,
        place INTEGER NOT NULL,
        user_id BIGINT NOT NULL,
        state NVARCHAR(16) NOT NULL,
        claim_until DATETIME2(3) NULL,
        licence_id NVARCHAR(32) NULL,
        changed_at DATETIME2(3) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        CONSTRAINT pk_giveaway_winners PRIMARY KEY (giveaway_id, draw, place),
        CONSTRAINT ck_giveaway_winners_state CHECK (state IN ('drawn', 'told', 'claimed', 'unclaimed', 'left', 'replaced')),
        CONSTRAINT fk_giveaway_winners_licence_id FOREIGN KEY(licence_id) REFERENCES licenses (id),
        CONSTRAINT fk_giveaway_winners_giveaway_id FOREIGN KEY(giveaway_id) REFERENCES giveaways (id)
    );
    CREATE INDEX ix_giveaway_winners_state_claim_until ON giveaway_winners (state, claim_until);
    UPDATE alembic_version SET version_num='0008' WHERE alembic_version.version_num = '0007';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0009')
BEGIN
    BEGIN TRANSACTION;
    CREATE INDEX ix_licenses_holder_id ON licenses (holder_id);
    UPDATE alembic_version SET version_num='0009' WHERE alembic_version.version_num = '0008';
    COMMIT TRANSACTION;
END;

IF NOT EXISTS (SELECT 1 FROM alembic_version WHERE version_num >= N'0010')
BEGIN
    BEGIN TRANSACTION;
    DROP TABLE gmail_watch;
    CREATE TABLE gmail_watch (
        id NVARCHAR(26) NOT NULL,
        name NVARCHAR(40) NOT NULL,
        sealed_secret VARBINARY(8192) NULL,
        uid_validity BIGINT NULL,
        uid_next BIGINT NULL,
        since DATETIME2(3) NULL,
        last_mail_at DATETIME2(3) NULL,
        is_paused BIT NOT NULL,
        state NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_gmail_watch PRIMARY KEY (id),
        CONSTRAINT ck_gmail_watch_state CHECK (state IN ('stopped', 'starting', 'ready', 'degraded', 'backoff', 'quarantined')),
        CONSTRAINT uq_gmail_watch_name UNIQUE (name)
    );
    CREATE TABLE mails (
        id NVARCHAR(26) NOT NULL,
        mailbox NVARCHAR(40) NOT NULL,
        uid_validity BIGINT NOT NULL,
        uid BIGINT NOT NULL,
        mail_hash VARBINARY(32) NOT NULL,
        message_id NVARCHAR(400) NOT NULL,
        sender NVARCHAR(320) NOT NULL,
        subject NVARCHAR(400) NOT NULL,
        at DATETIME2(3) NOT NULL,
        is_trusted BIT NOT NULL,
        content NVARCHAR(max) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_mails PRIMARY KEY (id),
        CONSTRAINT ck_mails_state CHECK (state IN ('seen', 'acting', 'done', 'failed', 'ignored'))
    );
    CREATE INDEX ix_mails_mailbox_uid ON mails (mailbox, uid_validity, uid);
    CREATE INDEX ix_mails_state ON mails (state);
    CREATE UNIQUE INDEX uq_mails_mailbox_mail_hash ON mails (mailbox, mail_hash);
    CREATE TABLE mail_actions (
        mail_id NVARCHAR(26) NOT NULL,
        number INTEGER NOT NULL,
        [rule] NVARCHAR(40) NOT NULL,
        action NVARCHAR(16) NOT NULL,
        [plan] NVARCHAR(max) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        result NVARCHAR(120) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_mail_actions PRIMARY KEY (mail_id, number),
        CONSTRAINT ck_mail_actions_state CHECK (state IN ('planned', 'doing', 'done', 'failed', 'asked')),
        CONSTRAINT fk_mail_actions_mail_id FOREIGN KEY(mail_id) REFERENCES mails (id)
    );
    CREATE INDEX ix_mail_actions_state ON mail_actions (state);
    CREATE TABLE mail_threads (
        ticket_id NVARCHAR(26) NOT NULL,
        mailbox NVARCHAR(40) NOT NULL,
        address NVARCHAR(320) NOT NULL,
        subject NVARCHAR(400) NOT NULL,
        last_message_id NVARCHAR(400) NOT NULL,
        message_ids NVARCHAR(max) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_mail_threads PRIMARY KEY (ticket_id),
        CONSTRAINT fk_mail_threads_ticket_id FOREIGN KEY(ticket_id) REFERENCES tickets (id)
    );
    CREATE TABLE mail_answers (
        id NVARCHAR(26) NOT NULL,
        ticket_id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        text NVARCHAR(max) NOT NULL,
        written_by NVARCHAR(120) NOT NULL,
        message_id NVARCHAR(400) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_mail_answers PRIMARY KEY (id),
        CONSTRAINT ck_mail_answers_state CHECK (state IN ('waiting', 'sending', 'sent', 'failed', 'asked')),
        CONSTRAINT fk_mail_answers_ticket_id FOREIGN KEY(ticket_id) REFERENCES tickets (id)
    );
    CREATE INDEX ix_mail_answers_state ON mail_answers (state);
    CREATE INDEX ix_mail_answers_ticket_id ON mail_answers (ticket_id);
    CREATE TABLE wanted_channels (
        [key] NVARCHAR(100) NOT NULL,
        guild_id BIGINT NOT NULL,
        channel_id BIGINT NOT NULL,
        seen NVARCHAR(max) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_wanted_channels PRIMARY KEY ([key])
    );
    CREATE INDEX ix_wanted_channels_channel_id ON wanted_channels (channel_id);
    CREATE TABLE channel_moves (
        old_id BIGINT NOT NULL IDENTITY,
        new_id BIGINT NOT NULL,
        [key] NVARCHAR(100) NOT NULL,
        guild_id BIGINT NOT NULL,
        at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_channel_moves PRIMARY KEY (old_id)
    );
    CREATE TABLE channel_repairs (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        guild_id BIGINT NOT NULL,
        [key] NVARCHAR(100) NOT NULL,
        channel_id BIGINT NOT NULL,
        drift NVARCHAR(16) NOT NULL,
        wanted NVARCHAR(max) NOT NULL,
        found NVARCHAR(max) NOT NULL,
        culprit_id BIGINT NULL,
        culprit NVARCHAR(120) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        changed_by NVARCHAR(120) NOT NULL,
        CONSTRAINT pk_channel_repairs PRIMARY KEY (id),
        CONSTRAINT ck_channel_repairs_drift CHECK (drift IN ('gone', 'renamed', 'moved', 'topic', 'permissions', 'order', 'panel', 'pin')),
        CONSTRAINT ck_channel_repairs_state CHECK (state IN ('found', 'repairing', 'repaired', 'asked', 'left', 'failed', 'undoing', 'undone'))
    );
    CREATE INDEX ix_channel_repairs_key_at ON channel_repairs ([key], at);
    CREATE INDEX ix_channel_repairs_state ON channel_repairs (state);
    CREATE TABLE channel_panels (
        [key] NVARCHAR(100) NOT NULL,
        channel_id BIGINT NOT NULL,
        message_id BIGINT NOT NULL,
        content_hash VARBINARY(32) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_channel_panels PRIMARY KEY ([key])
    );
    CREATE TABLE announcements (
        id NVARCHAR(26) NOT NULL,
        at DATETIME2(3) NOT NULL,
        due_at DATETIME2(3) NOT NULL,
        schedule NVARCHAR(120) NOT NULL,
        parent_id NVARCHAR(26) NULL,
        title NVARCHAR(200) NOT NULL,
        text NVARCHAR(max) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        written_by NVARCHAR(120) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_announcements PRIMARY KEY (id),
        CONSTRAINT ck_announcements_state CHECK (state IN ('scheduled', 'sending', 'sent', 'cancelled', 'failed'))
    );
    CREATE INDEX ix_announcements_state_due_at ON announcements (state, due_at);
    CREATE TABLE announcement_places (
        announcement_id NVARCHAR(26) NOT NULL,
        place NVARCHAR(40) NOT NULL,
        state NVARCHAR(16) NOT NULL,
        attempts INTEGER NOT NULL,
        next_at DATETIME2(3) NULL,
        url NVARCHAR(400) NOT NULL,
        detail NVARCHAR(400) NOT NULL,
        changed_at DATETIME2(3) NOT NULL,
        CONSTRAINT pk_announcement_places PRIMARY KEY (announcement_id, place),
        CONSTRAINT ck_announcement_places_state CHECK (state IN ('waiting', 'sending', 'sent', 'asked', 'given_up')),
        CONSTRAINT fk_announcement_places_announcement_id FOREIGN KEY(announcement_id) REFERENCES announcements (id)
    );
    UPDATE alembic_version SET version_num='0010' WHERE alembic_version.version_num = '0009';
    COMMIT TRANSACTION;
END;
