// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IEnergyTrading} from "./interfaces/IEnergyTrading.sol";
import {IForcedBids} from "./interfaces/IForcedBids.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {LeakyBucket} from "./libraries/LeakyBucket.sol";
import {Messages} from "./libraries/Messages.sol";
import {OrderBits} from "./libraries/OrderBits.sol";
import {Escrow} from "./trading/Escrow.sol";

/// @title Forced inclusion, and the way out when the operator is gone.
/// @notice An order created here is a bid that the operator must carry into the auctions exactly as it stands: its
/// version has the highest bit set and outranks every signed one, and the challenges refute a header that ignores or
/// alters it. Of several orders of an account for one quarter-hour the newest is the bid; the others stand only here.
/// An order locks the worst it can cost out of the account's escrow, which never goes back to the trader directly while
/// an auction may have filled the order.
/// While no header arrived for `escapeAfterS`, anybody may match two orders of the same quarter-hour: the buyer's money
/// moves from his lock to the trade, and to the seller when delivery is over. What is matched is closed to the auctions.
/// Nothing here asks whether the settlement is halted.
///
///     createOrder ──► active ──► cancelOrder                    closed: the auctions retire the bid
///                       ├──────► matchOrders (no headers) ──► settleTransaction (after delivery)
///                       └──────► returnEscrow (after its interval is settled, whatever became of it)
contract EnergyTrading is IEnergyTrading, IForcedBids, Escrow {
    using SafeERC20 for IERC20;

    /// @notice A match made without the operator. `cost` is in base units of the token.
    struct Trade {
        uint256 buyOrderId;
        uint256 sellOrderId;
        uint256 amount;
        uint256 price;
        uint256 cost;
        bool settled;
    }

    /// @dev A trade as it is stored, in one slot; the cost follows from amount and price.
    struct Matched {
        uint64 buyOrderId;
        uint64 sellOrderId;
        uint32 amountWh;
        uint32 price;
        bool settled;
    }

    /// @dev Times of bids stay below 2**63 everywhere, so that databases hold them exactly.
    uint256 private constant EXPIRY_LIMIT_S = (1 << 63) - 1;
    uint256 private constant INTERVAL_S = 900;
    uint256 private constant PRODUCT_LENGTH_FACTOR = 1024;
    /// @dev An order's number is account * 2**32 + nonce, its version this bit and the nonce.
    uint32 private constant FORCED_VERSION = 1 << 31;
    /// @dev Quarter-hours are auctioned within their last hour: after this long without a header, nothing of an order
    /// that is still open was traded in any header.
    uint64 private constant ESCAPE_FLOOR_S = 3_600;
    /// @dev An auction knows one order of an account. Ten an interval let a home change its mind with every forecast
    /// and still bound what one account makes the operator read, store and prove.
    uint32 private constant DEFAULT_CAPACITY = 10;
    uint32 private constant DEFAULT_LEAK_S = 90;

    /// @notice An order forces `bid`.
    event ForcedOrder(uint256 indexed orderId, Messages.Bid bid);
    /// @notice An order was withdrawn by its trader.
    event OrderCancelled(uint256 indexed orderId);
    /// @notice Two orders were matched without the operator, and both are closed to the auctions.
    event OrdersMatched(
        uint256 indexed transactionId,
        uint256 indexed buyOrderId,
        uint256 indexed sellOrderId,
        uint256 amount,
        uint256 cost
    );
    /// @notice The seller was paid.
    event TransactionSettled(uint256 indexed transactionId);
    /// @notice What was locked for the order's open amount became a deposit of its account.
    event EscrowReturned(uint256 indexed orderId, uint256 amountNano);

    /// @notice The caller is not the trader of the order, or has no account to trade with.
    error NotAuthorised();
    /// @notice The waiting time is shorter than a quarter-hour is traded.
    error EscapeTooEarly(uint64 escapeAfterS);
    /// @notice The price is not on the tick, or beyond what a bid may carry.
    error WrongPrice(uint256 price);
    /// @notice The order expires before its gate closes.
    error ExpiresBeforeGate(uint256 gateS);
    /// @notice No order, or no trade, has that number; or none is left for the account.
    error UnknownNumber(uint256 number);
    /// @notice The order is not active.
    error NotActive(uint256 orderId);
    /// @notice Headers arrive: the auctions are where these orders trade.
    error OperatorIsAlive(uint256 lastPostedAt);
    /// @notice The orders do not cross: sides, quarter-hour, price or expiry.
    error NoMatch();
    /// @notice Delivery has begun.
    error TooLate();
    /// @notice Delivery is not over.
    error TooEarly(uint256 untilS);
    /// @notice The trade was paid before.
    error AlreadySettled(uint256 transactionId);
    /// @notice Nothing is locked for the order's open amount, or it was returned before.
    error NothingLocked(uint256 orderId);
    /// @notice What the auctions made of orders for that quarter-hour is not final yet.
    error NotSettled(uint256 interval);

    /// @notice How long before delivery a quarter-hour's gate closes.
    uint64 public immutable closesBeforeS;
    /// @inheritdoc IForcedBids
    uint64 public immutable inclusionDelayS;
    /// @notice How long no header must have arrived before orders are matched here.
    uint64 public immutable escapeAfterS;
    /// @notice How many orders an account may create in one go.
    uint32 public immutable capacity;
    /// @notice How long it takes until an account may create one more.
    uint32 public immutable leakS;

    mapping(uint256 orderId => uint256 word) private _orders;
    Matched[] private _trades;

    /// @param settlement_ whose accounts trade here
    /// @param closesBeforeS_ how long before delivery a quarter-hour's gate closes
    /// @param inclusionDelayS_ how long before that gate an order must stand; at least the distance of two rounds
    /// @param escapeAfterS_ how long no header must have arrived before orders are matched here; at least an hour
    /// @param capacity_ orders an account may create in one go; 0 for ten
    /// @param leakS_ seconds until it may create one more; 0 for ninety
    /// @param shortfallPrice_ the highest import tariff ever meant, in micro-currency per kWh; what sellers are locked for
    constructor(
        ISettlement settlement_,
        uint64 closesBeforeS_,
        uint64 inclusionDelayS_,
        uint64 escapeAfterS_,
        uint32 capacity_,
        uint32 leakS_,
        int64 shortfallPrice_
    ) Escrow(settlement_, shortfallPrice_) {
        if (escapeAfterS_ < ESCAPE_FLOOR_S) revert EscapeTooEarly(escapeAfterS_);
        closesBeforeS = closesBeforeS_;
        inclusionDelayS = inclusionDelayS_;
        escapeAfterS = escapeAfterS_;
        capacity = capacity_ == 0 ? DEFAULT_CAPACITY : capacity_;
        leakS = leakS_ == 0 ? DEFAULT_LEAK_S : leakS_;
        _trades.push();
    }

    /// @inheritdoc IEnergyTrading
    function createOrder(uint256 amount, uint256 price, uint256 expiry, OrderType orderType)
        external
        returns (uint256 orderId)
    {
        Trader memory trader = _traders[msg.sender];
        // Accounts never change hands, so the settlement is asked once.
        if (trader.account == 0) trader.account = settlement.accountOf(msg.sender);
        if (trader.account == 0) revert NotAuthorised();
        if (amount == 0 || amount > QUANTITY_LIMIT_WH) revert WrongAmount(amount);
        if (price > PRICE_LIMIT || price % OrderBits.PRICE_TICK != 0) revert WrongPrice(price);
        uint64 interval = nextInterval();
        uint256 gateS = interval * INTERVAL_S - closesBeforeS;
        if (expiry < gateS || expiry > EXPIRY_LIMIT_S) revert ExpiresBeforeGate(gateS);

        orderId = _number(trader);
        OrderBits.Fields memory order =
            OrderBits.Fields(amount, 0, price, expiry, orderType, OrderStatus.ACTIVE, interval, 0, 0, false);
        _draw(trader, _lockedOf(order));
        _traders[msg.sender] = trader;
        uint256 word = OrderBits.pack(order);
        _orders[orderId] = word;

        emit ForcedOrder(orderId, _bidOf(orderId, word));
    }

    /// @inheritdoc IEnergyTrading
    function cancelOrder(uint256 orderId) external {
        OrderBits.Fields memory order = _existing(orderId);
        if (_traderOf(orderId) != msg.sender) revert NotAuthorised();
        if (order.status != OrderStatus.ACTIVE) revert NotActive(orderId);
        order.status = OrderStatus.CANCELLED;
        _close(orderId, order);
        emit OrderCancelled(orderId);
    }

    /// @inheritdoc IEnergyTrading
    /// @dev At the middle of the two limits, for the smaller of the two amounts; the rest of the larger can be matched
    /// here with others, but comes back to no auction: its bid was for the whole. The buyer pays out of his lock, and
    /// what the match is cheaper becomes free at once. The seller's lock stays until he is paid.
    function matchOrders(uint256 buyOrderId, uint256 sellOrderId) external {
        uint256 lastPostedAt = settlement.lastPostedAt();
        if (block.timestamp < lastPostedAt + escapeAfterS) revert OperatorIsAlive(lastPostedAt);
        OrderBits.Fields memory buy = _existing(buyOrderId);
        OrderBits.Fields memory sell = _existing(sellOrderId);
        if (buy.status != OrderStatus.ACTIVE) revert NotActive(buyOrderId);
        if (sell.status != OrderStatus.ACTIVE) revert NotActive(sellOrderId);
        if (!_cross(buy, sell) || buyOrderId >> 32 == sellOrderId >> 32) revert NoMatch();
        if (block.timestamp >= buy.interval * INTERVAL_S) revert TooLate();

        uint256 amount = _openOf(buy) < _openOf(sell) ? _openOf(buy) : _openOf(sell);
        uint256 price = (buy.price + sell.price) / 2;

        _take(buyOrderId, buy, amount);
        _take(sellOrderId, sell, amount);
        uint256 transactionId = _trades.length;
        // Casting: order numbers have 64 bits, an amount at most 30, a price at most 24.
        _trades.push(Matched(uint64(buyOrderId), uint64(sellOrderId), uint32(amount), uint32(price), false));

        emit OrdersMatched(transactionId, buyOrderId, sellOrderId, amount, _unitsOf(price * amount));
        _unlock(_accountOf(buyOrderId), (buy.price - price) * amount);
    }

    /// @inheritdoc IEnergyTrading
    /// @dev With his pay the seller's lock for the traded amount becomes free: it stood for energy that an auction sold
    /// and the meters missed. This trade is in no auction, so no header ever measures it against a meter, and nobody
    /// could show after delivery that it fell short; to hold the lock longer would serve nobody.
    function settleTransaction(uint256 transactionId) external {
        Trade memory trade = getTrade(transactionId);
        if (trade.settled) revert AlreadySettled(transactionId);
        OrderBits.Fields memory sell = _existing(trade.sellOrderId);
        _requireOver(sell.interval);

        _trades[transactionId].settled = true;
        sell.paidWh += trade.amount;
        _orders[trade.sellOrderId] = OrderBits.pack(sell);

        emit TransactionSettled(transactionId);
        _unlock(_accountOf(trade.sellOrderId), _worstPrice(sell) * trade.amount);
        _token().safeTransfer(_traderOf(trade.sellOrderId), trade.cost);
    }

    /// @notice Pays what is locked for the open amount of an order into the settlement, as a deposit of its account:
    /// debts are met first there, and the owner withdraws the rest by his proof. By anybody, once per order.
    /// @dev Not before the order's quarter-hour is settled in a final header. A withdrawal goes by the last final
    /// balances: deposited earlier, the money could leave before they show what the order cost. A halt does not stop
    /// it; when headers stop for good, it is open as soon as the settlement's reserves are released.
    function returnEscrow(uint256 orderId) external {
        OrderBits.Fields memory order = _existing(orderId);
        uint256 amountNano = _worstPrice(order) * _returnableOf(order);
        if (amountNano == 0) revert NothingLocked(orderId);
        _requireOver(order.interval);
        if (!_isSettled(order.interval)) revert NotSettled(order.interval);

        order.isReturned = true;
        _orders[orderId] = OrderBits.pack(order);

        emit EscrowReturned(orderId, amountNano);
        _token().forceApprove(address(settlement), _unitsOf(amountNano));
        settlement.deposit(_accountOf(orderId), amountNano);
    }

    /// @notice The order with that number: account * 2**32 + nonce, nonces from 1.
    function getOrder(uint256 orderId) external view returns (Order memory) {
        OrderBits.Fields memory order = _existing(orderId);
        return Order(_traderOf(orderId), _openOf(order), order.price, order.expiryS, order.side, order.status);
    }

    /// @notice What is locked for an order: for what is open until it is returned, and for what was sold until it is
    /// paid.
    function lockedNano(uint256 orderId) external view returns (uint256) {
        return _lockedOf(_existing(orderId));
    }

    /// @inheritdoc IForcedBids
    function forcedBidHash(uint32 account, uint32 version) external view returns (bytes32) {
        (uint256 orderId, uint256 word) = _byVersion(account, version);
        return word == 0 ? bytes32(0) : Messages.hashStruct(_bidOf(orderId, word));
    }

    /// @inheritdoc IForcedBids
    function closedAt(uint32 account, uint32 version) external view returns (uint64) {
        (, uint256 word) = _byVersion(account, version);
        return uint64(OrderBits.unpack(word).closedAtS);
    }

    /// @notice The quarter-hour an order is forced into, as the number of its interval.
    function intervalOf(uint256 orderId) public view returns (uint64) {
        return uint64(_existing(orderId).interval);
    }

    /// @notice The trade with that number. Numbers start at 1.
    function getTrade(uint256 transactionId) public view returns (Trade memory) {
        if (transactionId == 0 || transactionId >= _trades.length) revert UnknownNumber(transactionId);
        Matched memory trade = _trades[transactionId];
        return Trade(
            trade.buyOrderId,
            trade.sellOrderId,
            trade.amountWh,
            trade.price,
            _unitsOf(uint256(trade.price) * trade.amountWh),
            trade.settled
        );
    }

    /// @notice The first quarter-hour whose gate is at least one inclusion delay away.
    function nextInterval() public view returns (uint64) {
        uint256 earliestStartS = block.timestamp + inclusionDelayS + closesBeforeS;
        return uint64((earliestStartS + INTERVAL_S - 1) / INTERVAL_S);
    }

    /// @dev The number of the trader's next order; one more drop in the bucket.
    function _number(Trader memory trader) private view returns (uint256 orderId) {
        trader.drainedAtS = LeakyBucket.pour(trader.drainedAtS, capacity, leakS);
        trader.nonce += 1;
        orderId = (uint256(trader.account) << 32) | trader.nonce;
        if (trader.nonce & FORCED_VERSION != 0) revert UnknownNumber(orderId);
    }

    function _close(uint256 orderId, OrderBits.Fields memory order) private {
        if (order.closedAtS == 0) order.closedAtS = block.timestamp;
        _orders[orderId] = OrderBits.pack(order);
    }

    function _take(uint256 orderId, OrderBits.Fields memory order, uint256 amountWh) private {
        order.filledWh += amountWh;
        if (_openOf(order) == 0) order.status = OrderStatus.FILLED;
        _close(orderId, order);
    }

    function _existing(uint256 orderId) private view returns (OrderBits.Fields memory) {
        uint256 word = _orders[orderId];
        if (word == 0) revert UnknownNumber(orderId);
        return OrderBits.unpack(word);
    }

    function _byVersion(uint32 account, uint32 version) private view returns (uint256 orderId, uint256 word) {
        if (version & FORCED_VERSION == 0) return (0, 0);
        orderId = (uint256(account) << 32) | (version ^ FORCED_VERSION);
        word = _orders[orderId];
    }

    function _traderOf(uint256 orderId) private view returns (address) {
        return settlement.ownerOf(_accountOf(orderId));
    }

    function _lockedOf(OrderBits.Fields memory order) private view returns (uint256) {
        uint256 unpaidWh = order.side == OrderType.SELL ? order.filledWh - order.paidWh : 0;
        return _worstPrice(order) * (_returnableOf(order) + unpaidWh);
    }

    function _requireOver(uint256 interval) private view {
        uint256 endsAtS = (interval + 1) * INTERVAL_S;
        if (block.timestamp < endsAtS) revert TooEarly(endsAtS);
    }

    function _cross(OrderBits.Fields memory buy, OrderBits.Fields memory sell) private view returns (bool) {
        return buy.side == OrderType.BUY && sell.side == OrderType.SELL && buy.interval == sell.interval
            && buy.price >= sell.price && buy.expiryS >= block.timestamp && sell.expiryS >= block.timestamp;
    }

    function _accountOf(uint256 orderId) private pure returns (uint32) {
        return uint32(orderId >> 32);
    }

    /// @dev Of what amount the lock will be returned as a deposit.
    function _returnableOf(OrderBits.Fields memory order) private pure returns (uint256) {
        return order.isReturned ? 0 : _openOf(order);
    }

    function _openOf(OrderBits.Fields memory order) private pure returns (uint256) {
        return order.amountWh - order.filledWh;
    }

    /// @dev The bid that the order's word forces: always the whole amount, whatever was matched here.
    function _bidOf(uint256 orderId, uint256 word) private pure returns (Messages.Bid memory) {
        OrderBits.Fields memory order = OrderBits.unpack(word);
        return Messages.Bid({
            account: uint32(orderId >> 32),
            product: uint64(order.interval * PRODUCT_LENGTH_FACTOR + 1),
            version: FORCED_VERSION | uint32(orderId),
            side: uint8(order.side),
            quantityWh: uint64(order.amountWh),
            limitPrice: int64(uint64(order.price)),
            expiryS: uint64(order.expiryS)
        });
    }
}
