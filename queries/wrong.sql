CREATE SEGMENT a AS SELECT user_id, sum(valu) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT b AS SELECT user_id FROM events WHERE event_type = 'x';
CREATE SEGMENT c AS SELECT user_id FROM TUMBLE(event, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT d AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 parsecs') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT e AS SELECT a1.user_id FROM hi_spenders a1 JOIN good g USING (user_id, window_start, window_end);
CREATE SEGMENT good AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT good2 AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '30 minutes') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT f AS SELECT a.user_id FROM good a JOIN good2 b USING (user_id, window_start, window_end);
CREATE SEGMENT g1 AS SELECT user_id FROM g2; CREATE SEGMENT g2 AS SELECT user_id FROM g1;
CREATE SEGMENT h AS SELECT user_id, sum(value) FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start;
CREATE SEGMENT i AS SELECT user_id FROM good ORDER BY user_id;
COPY events TO '/tmp/x';
SELECT * FROM 'file.csv';
CREATE SEGMENT j AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE random() > 0.5 GROUP BY user_id, window_start, window_end;
CREATE SEGMENT k AS SELECT user_id HAVIN;
CREATE SEGMENT l AS SELECT user_id, event_type FROM TUMBLE(events, event_time, INTERVAL '5 minutes') GROUP BY user_id, window_start, window_end;
CREATE SEGMENT m AS SELECT a.user_id FROM good a JOIN good2 b ON a.value = b.value;
CREATE SEGMENT n WITH (retian = '1 hour') AS SELECT user_id FROM good;
CREATE SEGMENT o AS SELECT user_id FROM good EMIT SOMETIMES;
CREATE SEGMENT p AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type > 5 + 'abc' GROUP BY user_id, window_start, window_end;

CREATE SEGMENT wrong_by_alias AS
SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
GROUP BY user_id, window_start, window_end HAVING value > 2;

CREATE SEGMENT wrong_text_sum AS
SELECT user_id, sum(metadata['price']) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
GROUP BY user_id, window_start, window_end HAVING count(*) > 2;

CREATE SEGMENT wrong_no_window AS
SELECT user_id, count(*) AS value FROM events GROUP BY user_id, window_start, window_end HAVING count(*) > 2;

CREATE SEGMENT wrong_retain WITH (retain = '400 days') AS
SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
GROUP BY user_id, window_start, window_end HAVING count(*) > 2;
