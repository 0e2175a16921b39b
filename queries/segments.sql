-- Sample segments: what marketers ask for, one of each form.

CREATE SEGMENT high_spenders AS
SELECT user_id, sum(value) AS value
FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
WHERE event_type = 'purchase'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 500;

CREATE SEGMENT frequent_viewers AS
SELECT user_id, count(*) AS value
FROM events
WHERE event_type = 'view'
GROUP BY user_id, TUMBLE(event_time, INTERVAL '5 minutes')
HAVING count(*) >= 3;

CREATE SEGMENT engaged_spenders AS
SELECT s.user_id, s.value + v.value AS value
FROM high_spenders s JOIN frequent_viewers v USING (user_id, window_start, window_end);

CREATE SEGMENT toy_lovers WITH (retain = '1 hour') AS
SELECT user_id, count(*) AS value
FROM HOP(events, event_time, INTERVAL '5 minutes', INTERVAL '30 minutes')
WHERE event_type = 'view' AND metadata['category'] = 'toys'
GROUP BY user_id, window_start, window_end
HAVING count(*) >= 3;

CREATE SEGMENT broad_interest AS
SELECT user_id, count(DISTINCT metadata['category']) AS value
FROM TUMBLE(events, event_time, INTERVAL '30 minutes')
WHERE event_type = 'view'
GROUP BY user_id, window_start, window_end
HAVING count(DISTINCT metadata['category']) >= 5;

CREATE SEGMENT long_visits AS
SELECT user_id, sum(value) AS value
FROM SESSION(events, event_time, INTERVAL '5 minutes')
WHERE event_type = 'view'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 900;

CREATE SEGMENT window_shoppers AS
SELECT user_id, count(*) AS value
FROM TUMBLE(events, event_time, INTERVAL '30 minutes')
GROUP BY user_id, window_start, window_end
HAVING count(*) FILTER (WHERE event_type = 'view') >= 5
   AND count(*) FILTER (WHERE event_type = 'purchase') = 0;

CREATE SEGMENT growing_baskets AS
SELECT user_id, sum(value) AS value
FROM CUMULATE(events, event_time, INTERVAL '15 minutes', INTERVAL '1 hour')
WHERE event_type = 'add_to_cart'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 300;

CREATE SEGMENT quiet_spenders AS
SELECT s.user_id, s.value
FROM high_spenders s LEFT ANTI JOIN frequent_viewers v USING (user_id, window_start, window_end);

CREATE SEGMENT worth_a_call AS
SELECT s.user_id, s.value
FROM high_spenders s JOIN toy_lovers t USING (user_id);
