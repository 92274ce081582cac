/**
 * All error codes with their HTTP status. The codes are part of the API: add codes, but do not rename them.
 */
export const errorStatus = {
  // the request
  bad_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  app_not_found: 404,
  release_not_found: 404,
  token_not_found: 404,
  key_not_found: 404,
  invalid_key: 400,
  domain_not_found: 404,
  domain_taken: 409,
  invalid_domain: 400,
  invalid_certificate: 400,
  invalid_name: 400,
  invalid_env: 400,
  confirmation_required: 400,

  // the upload
  upload_too_large: 413,
  upload_stalled: 408,
  upload_aborted: 400,
  archive_unreadable: 422,
  archive_truncated: 422,
  archive_empty: 422,
  archive_unsafe: 422,
  archive_too_many_entries: 413,
  archive_too_large: 413,
  disk_full: 507,
  disk_unwritable: 507,
  lfs_not_fetched: 422,
  submodules_not_fetched: 422,

  // the push
  push_refused: 422,
  commit_not_kept: 409,
  git_missing: 500,
  git_failed: 422,

  // the settings and the start of the app
  invalid_settings: 422,
  nothing_to_run: 422,
  unsupported_start: 422,
  invalid_pm2_file: 422,
  unsupported_node_version: 422,

  // the build
  encrypted_files: 422,
  unsupported_package_manager: 422,
  install_failed: 422,
  build_failed: 422,
  build_timeout: 422,
  build_out_of_memory: 422,
  hook_failed: 422,

  // the boot
  boot_exited: 422,
  boot_timeout: 422,
  boot_cluster: 422,
  health_failed: 422,
  settle_exited: 422,
  reverted: 422,
  port_taken: 422,

  // the deployment as a whole
  superseded: 409,
  cancelled: 409,
  interrupted: 409,
  nothing_to_roll_back_to: 409,
  not_deployed: 409,
  without_port: 409,
  not_cancellable: 409,
  switch_failed: 500,

  // one-off commands
  command_not_found: 404,
  process_not_found: 404,
  perl_missing: 422,
  too_many_commands: 429,

  // domains
  nginx_failed: 422,
  edge_unavailable: 503,
  domain_unreachable: 422,
  order_failed: 422,

  // backups
  backup_running: 409,
  app_exists: 409,

  // moves from PM2
  invalid_pm2_list: 422,
  pm2_not_found: 404,
  pm2_failed: 502,
  takeover_failed: 409,

  // Sluice itself
  already_running: 409,
  not_running: 503,
  runner_unavailable: 503,
  runner_stuck: 503,
  stopping: 503,
  protocol_mismatch: 500,
  out_of_descriptors: 503,
  path_too_long: 500,
  user_refused: 500,
  files_obstructed: 500,
  internal: 500,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof errorStatus;

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorStatus, value);
}
