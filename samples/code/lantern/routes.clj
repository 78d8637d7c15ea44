(ns lantern.routes
  "Matches a path against patterns such as /walks/:season and returns what the names stand for."
  (:require [clojure.string :as str]))

(defn- segments [path]
  (remove str/blank? (str/split path #"/")))

(defn match [pattern path]
  (let [wanted (segments pattern)
        given (segments path)]
    (when (= (count wanted) (count given))
      (reduce (fn [found [w g]]
                (cond
                  (str/starts-with? w ":") (assoc found (keyword (subs w 1)) g)
                  (= w g) found
                  :else (reduced nil)))
              {}
              (map vector wanted given)))))

(defn route [table path]
  (some (fn [[pattern handler]]
          (when-let [names (match pattern path)]
            (handler names)))
        table))
