// SPDX-License-Identifier: Apache-2.0
#include "apns/protocol.h"

#include "apns/jwt.h"
#include "apns/opts.h"
#include "apns/service_account.h"

enum err_kind protocol_check(const struct apns_app_opts *app, struct err *e)
{
    struct service_account *account = NULL;
    struct jwt *jwt = NULL;
    enum err_kind kind = app->fcm
                             ? service_account_read(app->fcm->service_account, &account, e)
                             : jwt_new(app->key_pem, app->key_id, app->team_id, &jwt, e);
    service_account_free(&account);
    jwt_free(&jwt);
    return kind;
}
