// SPDX-License-Identifier: Apache-2.0
#include "apns/protocol.h"

#include "apns/client_cert.h"
#include "apns/jwt.h"
#include "apns/opts.h"
#include "apns/service_account.h"
#include "apns/vapid.h"

enum err_kind protocol_check(const struct apns_app_opts *app, struct err *e)
{
    struct service_account *account = NULL;
    struct client_cert *certificate = NULL;
    struct jwt *jwt = NULL;
    struct vapid *vapid = NULL;
    enum err_kind kind;
    if (app->webpush)
        kind = vapid_new(app->webpush->private_key, app->webpush->subject, &vapid, e);
    else if (app->fcm)
        kind = service_account_read(app->fcm->service_account, &account, e);
    else if (app->certificate_pem)
        kind = client_cert_new(app->certificate_pem, app->private_key_pem, app->topic,
                               app->voip, &certificate, e);
    else
        kind = jwt_new(app->key_pem, app->key_id, app->team_id, &jwt, e);
    service_account_free(&account);
    client_cert_free(&certificate);
    jwt_free(&jwt);
    vapid_free(&vapid);
    return kind;
}
