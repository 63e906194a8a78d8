-- What stands under key $1 for the lease with token $2 and fence $3, once no transaction is at
-- it any more.
{standing}
FOR NO KEY UPDATE
