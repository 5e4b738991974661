-- The minimal permissions of a Fleetmaster master on SQL Server. Run schema.sqlserver.sql first, as the owner.
--
-- The master then needs no ownership: it finds the schema at the expected revision, and does not change it. After an
-- upgrade run the new schema.sqlserver.sql before the master. This script may be run again.
--
-- Grant the role to the master's login:
--     CREATE LOGIN fleetmaster WITH PASSWORD = N'...';
--     CREATE USER fleetmaster FOR LOGIN fleetmaster;
--     ALTER ROLE fleetmaster_master ADD MEMBER fleetmaster;

IF DATABASE_PRINCIPAL_ID(N'fleetmaster_master') IS NULL
CREATE ROLE fleetmaster_master;

GRANT SELECT ON alembic_version TO fleetmaster_master;

-- Rows that change.
GRANT SELECT, INSERT, UPDATE ON nodes TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON licenses TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON bot_duplications TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON patches TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON patch_nodes TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON patch_keys TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON patch_versions TO fleetmaster_master;
GRANT SELECT, INSERT ON generations TO fleetmaster_master;
GRANT SELECT, INSERT ON facts TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON solutions TO fleetmaster_master;
GRANT SELECT, INSERT ON solution_versions TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON tickets TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON ticket_permissions TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON licence_uses TO fleetmaster_master;
GRANT SELECT, INSERT ON licence_events TO fleetmaster_master;
GRANT SELECT, INSERT ON shop_events TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON giveaway_winners TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON giveaways TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON giveaway_entries TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON gmail_watch TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON mails TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON mail_actions TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON mail_threads TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON mail_answers TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON wanted_channels TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON channel_moves TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON channel_repairs TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON channel_panels TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON announcements TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE ON announcement_places TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON node_tokens TO fleetmaster_master;

-- Events, which are pruned when they are old.
GRANT SELECT, INSERT, UPDATE, DELETE ON error_events TO fleetmaster_master;
GRANT SELECT, INSERT, DELETE ON process_events TO fleetmaster_master;
GRANT SELECT, INSERT, DELETE ON handshake_events TO fleetmaster_master;
GRANT SELECT, INSERT, DELETE ON pulse_snapshots TO fleetmaster_master;
GRANT SELECT, INSERT, DELETE ON patch_tracking TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON solution_runs TO fleetmaster_master;
GRANT SELECT, INSERT, UPDATE, DELETE ON error_groups TO fleetmaster_master;

-- The highest write applied per session of the master.
GRANT SELECT, INSERT, UPDATE, DELETE ON applied_writes TO fleetmaster_master;

-- The audit log: read and add, and nothing else, whatever other roles the login may have. Some servers refuse DENY
-- (Babelfish does); there the login must not be in another role that may change the log.
GRANT SELECT, INSERT ON audit_log TO fleetmaster_master;

BEGIN TRY
    EXEC (N'DENY UPDATE, DELETE ON audit_log TO fleetmaster_master');
END TRY
BEGIN CATCH
    PRINT N'DENY is refused here: grant the login no other role that may change audit_log.';
END CATCH;
