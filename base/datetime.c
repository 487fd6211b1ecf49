// SPDX-License-Identifier: Apache-2.0
#include "base/datetime.h"

#include <string.h>

#define DAY_S INT64_C(86400)
#define SECOND_US INT64_C(1000000)
#define BEGIN_US (INT64_C(-62135596800) * SECOND_US) /* 0001-01-01T00:00:00Z */
#define END_US (INT64_C(253402300800) * SECOND_US)   /* 10000-01-01T00:00:00Z */

/* Days since 1970-01-01 of a day in the Gregorian calendar.  The year is counted from March,
 * so that the leap day is its last. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t era = y / 400;
    int64_t in_era = y - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    int64_t z = days + 719468;
    int64_t era = z / 146097;
    int64_t in_era = z - era * 146097;
    int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;
    *day = (int)(in_year - (153 * m + 2) / 5 + 1);
    *month = (int)(m < 10 ? m + 3 : m - 9);
    *year = (int)(y + era * 400 + (*month <= 2 ? 1 : 0));
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_digits(const char **s, int count, int *out)
{
    *out = 0;
    for (int i = 0; i < count; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return false;
        *out = *out * 10 + (**s - '0');
    }
    return true;
}

static bool take_char(const char **s, char c)
{
    if (**s != c)
        return false;
    (*s)++;
    return true;
}

/* ".123" or nothing; digits after the sixth are checked and dropped. */
static bool take_fraction(const char **s, int64_t *us_out)
{
    *us_out = 0;
    if (!take_char(s, '.'))
        return true;
    int64_t unit = SECOND_US / 10;
    const char *first = *s;
    for (; **s >= '0' && **s <= '9'; (*s)++) {
        *us_out += (**s - '0') * unit;
        unit /= 10;
    }
    return *s != first;
}

static bool take_zone(const char **s, int64_t *offset_s_out)
{
    *offset_s_out = 0;
    if (take_char(s, 'Z'))
        return true;
    int sign = **s == '+' ? 1 : **s == '-' ? -1 : 0;
    if (sign == 0)
        return false;
    (*s)++;
    int hour, minute;
    if (!take_digits(s, 2, &hour) || !take_char(s, ':') || !take_digits(s, 2, &minute) ||
        hour > 23 || minute > 59)
        return false;
    *offset_s_out = INT64_C(60) * sign * (hour * 60 + minute);
    return true;
}

static bool parse(const char *text, int year_min, int64_t *us_out)
{
    if (!text)
        return false;
    const char *s = text;
    int year, month, day, hour, minute, second;
    if (!take_digits(&s, 4, &year) || !take_char(&s, '-') || !take_digits(&s, 2, &month) ||
        !take_char(&s, '-') || !take_digits(&s, 2, &day) || !take_char(&s, 'T') ||
        !take_digits(&s, 2, &hour) || !take_char(&s, ':') || !take_digits(&s, 2, &minute) ||
        !take_char(&s, ':') || !take_digits(&s, 2, &second))
        return false;
    int64_t us, offset_s;
    if (!take_fraction(&s, &us) || !take_zone(&s, &offset_s) || *s != '\0')
        return false;
    if (year < year_min || month < 1 || month > 12 || day < 1 ||
        day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t seconds =
        days_of(year, month, day) * DAY_S + (hour * INT64_C(60) + minute) * 60 + second;
    int64_t total = (seconds - offset_s) * SECOND_US + us;
    if (total >= END_US)
        return false;
    *us_out = total;
    return true;
}

bool datetime_parse(const char *text, int64_t *us_out)
{
    int64_t us;
    if (!parse(text, 1970, &us) || us < 0)
        return false;
    *us_out = us;
    return true;
}

bool datetime_parse_any(const char *text, int64_t *us_out)
{
    return parse(text, 0, us_out);
}

static char *put_digits(char *at, int value, int width, char after)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    at[width] = after;
    return at + width + 1;
}

/* Up to and including the seconds, and one character more. */
static char *put_seconds(char *at, int64_t seconds, char after)
{
    int64_t days = seconds / DAY_S - (seconds % DAY_S < 0);
    int in_day = (int)(seconds - days * DAY_S);
    int year, month, day;
    date_of(days, &year, &month, &day);
    at = put_digits(at, year, 4, '-');
    at = put_digits(at, month, 2, '-');
    at = put_digits(at, day, 2, 'T');
    at = put_digits(at, in_day / 3600, 2, ':');
    at = put_digits(at, in_day / 60 % 60, 2, ':');
    return put_digits(at, in_day % 60, 2, after);
}

void datetime_format(int64_t us, char out[DATETIME_BYTES])
{
    if (us < 0)
        us = 0;
    if (us >= END_US)
        us = END_US - 1;
    char *at = put_seconds(out, us / SECOND_US, '.');
    at = put_digits(at, (int)(us % SECOND_US), 6, 'Z');
    *at = '\0';
}

bool datetime_parse_http(const char *text, size_t len, int64_t *s_out)
{
    static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char copy[sizeof "Sun, 06 Nov 1994 08:49:37 GMT"];
    int year, month = 0, day, hour, minute, second;
    if (len != sizeof copy - 1)
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    const char *s = copy + 5;
    if (copy[3] != ',' || copy[4] != ' ' || !take_digits(&s, 2, &day) || !take_char(&s, ' '))
        return false;
    while (month < 12 && memcmp(months + (size_t)3 * (size_t)month, s, 3) != 0)
        month++;
    s += 3;
    if (month++ == 12 || !take_char(&s, ' ') || !take_digits(&s, 4, &year) ||
        !take_char(&s, ' ') || !take_digits(&s, 2, &hour) || !take_char(&s, ':') ||
        !take_digits(&s, 2, &minute) || !take_char(&s, ':') || !take_digits(&s, 2, &second) ||
        strcmp(s, " GMT") != 0)
        return false;
    if (year < 1970 || day < 1 || day > days_in_month(year, month) || hour > 23 ||
        minute > 59 || second > 60)
        return false;
    int64_t in_days = days_of(year, month, day);
    if (memcmp(days + 3 * (in_days % 7), copy, 3) != 0)
        return false;
    *s_out = in_days * DAY_S + (hour * INT64_C(60) + minute) * 60 + second;
    return true;
}

void datetime_format_short(int64_t us, char out[DATETIME_BYTES])
{
    if (us < BEGIN_US)
        us = BEGIN_US;
    if (us >= END_US)
        us = END_US - 1;
    int64_t seconds = us / SECOND_US - (us % SECOND_US < 0);
    int fraction = (int)(us - seconds * SECOND_US), width = 6;
    char *at = put_seconds(out, seconds, fraction ? '.' : 'Z');
    for (; fraction && fraction % 10 == 0; width--)
        fraction /= 10;
    if (fraction)
        at = put_digits(at, fraction, width, 'Z');
    *at = '\0';
}
