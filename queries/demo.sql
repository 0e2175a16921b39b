-- The segments of `cohort demo`: short windows, so that members come and go as one watches.

CREATE SEGMENT high_spenders AS
SELECT user_id, sum(value) AS value
FROM TUMBLE(events, event_time, INTERVAL '30 seconds')
WHERE event_type = 'purchase'
GROUP BY user_id, window_start, window_end
HAVING sum(value) > 500;

CREATE SEGMENT frequent_viewers AS
SELECT user_id, count(*) AS value
FROM HOP(events, event_time, INTERVAL '10 seconds', INTERVAL '1 minute')
WHERE event_type = 'view'
GROUP BY user_id, window_start, window_end
HAVING count(*) >= 8;

CREATE SEGMENT window_shoppers AS
SELECT user_id, count(*) FILTER (WHERE event_type = 'view') AS value
FROM TUMBLE(events, event_time, INTERVAL '30 seconds')
WHERE event_type IN ('view', 'purchase')
GROUP BY user_id, window_start, window_end
HAVING count(*) FILTER (WHERE event_type = 'view') >= 5 AND count(*) FILTER (WHERE event_type = 'purchase') = 0;

CREATE SEGMENT electronics_fans WITH (retain = '2 minutes') AS
SELECT user_id, count(DISTINCT metadata['productId']) AS value
FROM TUMBLE(events, event_time, INTERVAL '30 seconds')
WHERE metadata['category'] = 'electronics'
GROUP BY user_id, window_start, window_end
HAVING count(DISTINCT metadata['productId']) >= 3;

CREATE SEGMENT long_visits AS
SELECT user_id, count(*) AS value
FROM SESSION(events, event_time, INTERVAL '20 seconds')
GROUP BY user_id, window_start, window_end
HAVING count(*) >= 15;

CREATE SEGMENT engaged_spenders AS
SELECT s.user_id, s.value + v.value AS value
FROM high_spenders s JOIN frequent_viewers v USING (user_id);

CREATE SEGMENT spenders_who_do_not_look AS
SELECT s.user_id, s.value
FROM high_spenders s LEFT ANTI JOIN frequent_viewers v USING (user_id);
